"""Whatever is asked of it, a server with two replicas of Ray Serve answers with the bytes of a
server without Ray: samplers, representations and streams, starts and masks, /encode and /bound."""

import base64
import io
import json
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from benchmarks.load import Request
from benchmarks.same_bytes_requests import JSON, NPZ, PNG, ZIP
from benchmarks.soak.requests import STREAM, VARYING, parse_events
from diffusion.spacing import SamplerName
from tests.app.server import Server

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

N = 40
"""Samples: more than two full batches, so that both engines make some."""
SIZE = 8
"""Of the checkpoint's images."""


def sent(pixels: np.ndarray) -> str:
    """A picture, as requests have it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def pictures(n: int) -> list[str]:
    """Random pictures."""
    source = np.random.default_rng(0)
    return [sent(source.integers(0, 256, (SIZE, SIZE), np.uint8)) for _ in range(n)]


def states() -> str:
    """Random states, as requests have them."""
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).standard_normal((N, 1, SIZE, SIZE), np.float32))
    return base64.b64encode(file.getvalue()).decode()


def lower_half() -> str:
    """A mask: white, the lower half, is made anew."""
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[SIZE // 2 :] = 255
    return sent(pixels)


def sample(accept: str = JSON, **fields: Any) -> Request:
    return Request("/sample", {"n": N, "seed": 7, "steps": 10, **fields}, accept)


def trajectory(accept: str, **fields: Any) -> Request:
    body = {"n": N, "seed": 7, "steps": 10, "frames": 4, **fields}
    return Request("/denoise-trajectory", body, accept)


A, B = pictures(2)
MASK = lower_half()
LABELS = [k % 3 for k in range(N)]
WEIGHTS = [k / N for k in range(N)]
DDIM = {"sampler": "ddim"}
ANIMATED = {"n": 4, **DDIM}
REQUESTS: dict[str, Request] = {
    **{name: sample(sampler=name) for name in get_args(SamplerName)},
    **{f"{name}, guided": sample(sampler=name, labels=LABELS, guidance=1.5)
       for name in get_args(SamplerName)},
    "ddpm, larger variance": sample(variance="fixed_large"),
    "ddim, with noise": sample(**DDIM, eta=0.5),
    "later samples": sample(first_index=1000),
    "PNG": sample(PNG), "ZIP": sample(ZIP), "npz": sample(NPZ),
    "trajectory, JSON": trajectory(JSON), "trajectory, npz": trajectory(NPZ),
    "trajectory, stream": trajectory(STREAM, **DDIM, labels=LABELS, guidance=1.0),
    "trajectory, PNG": trajectory(PNG, **ANIMATED),
    "trajectory, GIF": trajectory("image/gif", **ANIMATED),
    "trajectory, WebP": trajectory("image/webp", **ANIMATED),
    "trajectory, APNG": trajectory("image/apng", **ANIMATED),
    "from a picture": sample(**DDIM, start={"image": A, "t": 30}),
    "from a picture each": sample(start={"image": pictures(N), "t": 30}),
    "between pictures": sample(**DDIM, start={"images": [A, B], "t": 25, "weight": WEIGHTS}),
    "between seeds": sample(**DDIM, start={"seeds": [3, 4], "weight": WEIGHTS}),
    "from states": sample(**DDIM, start={"x_t": states(), "t": 50}),
    "mask": sample(start={"image": A}, mask=MASK),
    "RePaint": sample(start={"image": A}, mask=MASK, resamplings=3, jump=4),
    "RePaint, stream": trajectory(STREAM, start={"image": A}, mask=MASK, resamplings=2, jump=2),
    "encode, npz": Request("/encode", {"image": pictures(N), "steps": 10}, NPZ),
    "encode, JSON": Request("/encode", {"image": pictures(3), "labels": 1, "steps": 10}, JSON),
    **{f"bound, {name}": Request("/bound", {"images": pictures(4), "terms": 12, "seed": 5}, accept)
       for name, accept in {"JSON": JSON, "npz": NPZ, "stream": STREAM}.items()},
    "bound, all terms": Request("/bound", {"images": A, "terms": 50, "labels": 2, "seed": 5}, JSON),
}  # fmt: skip


def content(server: Server, request: Request) -> object:
    """What an answer says of its images; the events of a stream in any order, but the last."""
    answer = server.post(request.path, request.body, request.accept)
    assert answer.status_code == 200, answer.text
    if request.accept == JSON:
        return lasting(answer.json())
    if request.accept != STREAM:
        return answer.content
    *events, last = parse_events(answer.content)
    return sorted(told(events)), list(told([last]))


def told(events: Iterable[tuple[str, dict[str, Any]]]) -> Iterable[tuple[str, str]]:
    """Events as text, without the news of how far it is, which come as time passes."""
    return [
        (name, json.dumps(lasting(data), sort_keys=True))
        for name, data in events
        if name not in ("queued", "progress")
    ]


def lasting(body: dict[str, Any]) -> dict[str, Any]:
    """What is the same in two answers to the same request."""
    return {name: value for name, value in body.items() if name not in VARYING}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_cluster_answers_with_the_bytes_of_one_server(
    server: Server, alone: Server, name: str
) -> None:
    found, expected = (content(each, REQUESTS[name]) for each in (server, alone))
    assert found == expected and found
