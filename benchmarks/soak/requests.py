"""The soak's requests, and what of an answer must be the same each time."""

import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any

from benchmarks.load import Request

SAMPLE_TYPES = ("application/json", "image/png", "application/zip", "application/x-npz")
STREAM = "text/event-stream"
TRAJECTORY_TYPES = (
    "application/json", "image/png", "image/gif", "image/webp", "application/x-npz", STREAM, STREAM
)  # fmt: skip
STEPS = {"ddpm": (20, 120), "ddim": (5, 50), "dpmpp": (5, 25)}
JOB_TYPES = {
    "/sample": SAMPLE_TYPES,
    "/denoise-trajectory": (
        "application/json", "image/png", "image/gif", "image/webp", "application/x-npz"
    ),
}  # fmt: skip
"""The representations of a job's result."""
BIG_TYPES = ("application/json", "application/x-npz", "image/png", STREAM)
"""Those in which the big one is read slowly: of the job's result, and live."""
IN_RANGES = ("application/zip", "application/x-npz")
"""Those of which a part can be asked for."""
MAX_IMAGES = 8
VARYING = ("id", "timing")
"""What two answers to the same request may differ in."""


def make_pool(model: Mapping[str, Any], count: int, seed: int) -> list[Request]:
    """Distinct requests that the model of that `GET /model` can serve: every representation in
    turn, all samplers, labels and guidance where it has them. The same arguments, the same pool."""
    source = random.Random(seed)
    kinds = [("/sample", accept) for accept in SAMPLE_TYPES]
    kinds += [("/denoise-trajectory", accept) for accept in TRAJECTORY_TYPES]
    pool = []
    for i in range(count):
        path, accept = kinds[i % len(kinds)]
        body = {"seed": i, **_fields(source, model)}  # the seed makes it distinct
        if path == "/denoise-trajectory":
            body["frames"] = source.randint(2, 11)
        pool.append(Request(path, body, accept))
    return pool


def make_jobs(model: Mapping[str, Any], count: int, seed: int) -> list[Request]:
    """Distinct requests, without a representation, of some chunks of images each: the work of a
    few seconds. A third of them are trajectories."""
    source = random.Random(f"{seed} jobs")
    jobs = []
    for i in range(count):
        steps = min(source.randint(4, 10), model["num_timesteps"])
        body: dict[str, Any] = {"seed": 1000 + i, "sampler": "dpmpp", "steps": steps}
        body |= {"n": source.randint(12, 64), "first_index": source.choice((0, 7))}
        path = "/denoise-trajectory" if i % 3 == 2 else "/sample"
        if path == "/denoise-trajectory":
            body |= {"n": source.randint(4, 16), "frames": source.randint(2, 8)}
        jobs.append(Request(path, body))
    return jobs


def make_big_job(model: Mapping[str, Any], samples: int) -> Request:
    """A trajectory whose arrays are megabytes."""
    steps = min(20, model["num_timesteps"])
    body = {"seed": 999, "n": samples, "sampler": "ddim", "steps": steps, "frames": steps + 1}
    return Request("/denoise-trajectory", body)


def _fields(source: random.Random, model: Mapping[str, Any]) -> dict[str, Any]:
    sampler, n = source.choice(list(STEPS)), source.randint(1, MAX_IMAGES)
    few, many = (min(steps, model["num_timesteps"]) for steps in STEPS[sampler])
    fields: dict[str, Any] = {"n": n, "sampler": sampler, "steps": source.randint(few, many)}
    fields["first_index"] = source.choice((0, 0, 1000))
    if sampler == "ddim":
        fields["eta"] = source.choice((0.0, 0.5, 1.0))
    classes = len(model["classes"])
    if not classes:
        return fields
    fields["labels"] = source.choice(
        (source.randrange(classes), [source.randrange(classes) for _ in range(n)])
    )
    if model["null_label"] is not None:
        fields["guidance"] = source.choice((0.0, 0.0, 1.5))
    return fields


def fingerprint(accept: str, content: bytes) -> str:
    """SHA-256 of an answer without its id and timing, and without the order in which the frames of
    different samples came."""
    if accept == "application/json":
        content = _canonical(json.loads(content))
    elif accept == STREAM:
        events = [(name, _canonical(data)) for name, data in parse_events(content)]
        # Of one sample they must come in order; which sample comes first depends on the load.
        frames = sorted(events[:-1], key=lambda event: int(json.loads(event[1])["index"]))
        content = repr([*frames, events[-1]]).encode()
    return hashlib.sha256(content).hexdigest()


def parse_events(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(name, data) of each server-sent event; comments are left out."""
    events = []
    for block in content.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


def _canonical(data: Mapping[str, Any]) -> bytes:
    kept = {key: value for key, value in data.items() if key not in VARYING}
    return json.dumps(kept, sort_keys=True).encode()
