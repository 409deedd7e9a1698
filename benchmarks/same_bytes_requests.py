"""The 40 requests of the comparison of two servers, and what their answers hold."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.load import Request
from benchmarks.soak.requests import STREAM, VARYING, parse_events

JSON, ZIP, NPZ, PNG = "application/json", "application/zip", "application/x-npz", "image/png"
GIF, WEBP, APNG = "image/gif", "image/webp", "image/apng"

FRACTIONS_OF_T = (1.0, 0.75, 0.5, 0.1, 0.0)
"""The states that requests with `timesteps` show."""
PICTURE_AXES = {"images": 1, "x_t": 2, "x0_hat": 2}
"""The arrays of an npz that hold pictures: how many axes come before the picture's own."""
LABELS = range(64)
"""Labels of a request that has one for each image; they are taken modulo the model's classes."""

SAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    (JSON, {"n": 1}),  # the default: DDPM in T steps
    (JSON, {"n": 4, "steps": 10}),
    (JSON, {"n": 4, "steps": 10, "variance": "fixed_small"}),
    (JSON, {"n": 4, "steps": 10, "variance": "fixed_large"}),
    (JSON, {"n": 4, "steps": 10, "first_index": 1000}),
    (JSON, {"n": 4, "steps": 5, "first_index": 2**53 - 5}),
    (JSON, {"n": 1, "sampler": "ddim"}),
    (JSON, {"n": 4, "sampler": "ddim", "steps": 10}),
    (JSON, {"n": 4, "sampler": "ddim", "steps": 10, "eta": 0.5}),
    (JSON, {"n": 4, "sampler": "ddim", "steps": 10, "eta": 1.0}),
    (JSON, {"n": 1, "sampler": "dpmpp"}),
    (JSON, {"n": 4, "sampler": "dpmpp", "steps": 1}),
    (JSON, {"n": 4, "sampler": "dpmpp", "steps": 10}),
    (JSON, {"n": 2, "steps": 10, "labels": 3}),
    (JSON, {"n": 4, "steps": 10, "labels": LABELS, "guidance": 2.0}),
    (JSON, {"n": 4, "sampler": "ddim", "steps": 10, "labels": LABELS}),
    (JSON, {"n": 2, "sampler": "ddim", "steps": 10, "labels": 1, "guidance": 20.0}),
    (JSON, {"n": 4, "sampler": "dpmpp", "steps": 10, "labels": LABELS, "guidance": 1.5}),
    (JSON, {"n": 33, "sampler": "ddim", "steps": 3}),  # more than run at once
    (JSON, {"n": 64, "sampler": "dpmpp", "steps": 2, "labels": LABELS, "guidance": 1.0}),
    (PNG, {"n": 1, "sampler": "ddim", "steps": 5}),
    (PNG, {"n": 6, "steps": 5}),
    (ZIP, {"n": 5, "sampler": "dpmpp", "steps": 5}),
    (ZIP, {"n": 3, "sampler": "ddim", "steps": 5, "labels": LABELS, "eta": 0.25}),
    (NPZ, {"n": 5, "sampler": "ddim", "steps": 5, "labels": LABELS}),
    (NPZ, {"n": 17, "steps": 3, "variance": "fixed_large"}),
)
TRAJECTORIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (JSON, {"n": 2, "steps": 20}),  # 11 frames, the default
    (JSON, {"n": 2, "sampler": "ddim", "steps": 10, "frames": 5}),
    (JSON, {"n": 2, "sampler": "dpmpp", "steps": 10, "timesteps": FRACTIONS_OF_T}),
    (NPZ, {"n": 3, "steps": 10, "frames": 4, "labels": LABELS, "guidance": 1.0}),
    (NPZ, {"n": 2, "sampler": "ddim", "steps": 10, "eta": 0.5, "timesteps": FRACTIONS_OF_T}),
    (NPZ, {"n": 2, "sampler": "dpmpp", "steps": 10, "frames": 6, "labels": 2, "guidance": 3.0}),
    (STREAM, {"n": 3, "steps": 10, "frames": 11}),
    (STREAM, {"n": 2, "sampler": "ddim", "steps": 10, "labels": LABELS, "guidance": 2.0}),
    (STREAM, {"n": 2, "sampler": "dpmpp", "steps": 10, "timesteps": FRACTIONS_OF_T}),
    (PNG, {"n": 2, "steps": 10, "frames": 6}),
    (GIF, {"n": 4, "sampler": "ddim", "steps": 10}),
    (WEBP, {"n": 4, "steps": 10, "labels": LABELS}),
    (APNG, {"n": 4, "sampler": "dpmpp", "steps": 10, "first_index": 7}),
    (APNG, {"n": 2, "sampler": "ddim", "steps": 10, "timesteps": FRACTIONS_OF_T}),
)


@dataclass
class Content:
    """SHA-256 of what an answer holds, by a name that a reader understands."""

    pictures: dict[str, str] = field(default_factory=dict)
    rest: dict[str, str] = field(default_factory=dict)

    def differences(self, other: "Content") -> list[str]:
        """The names of what differs, or is in one of the two only; pictures first."""
        found: list[str] = []
        for mine, others in ((self.pictures, other.pictures), (self.rest, other.rest)):
            found += [name for name in {**mine, **others} if mine.get(name) != others.get(name)]
        return found


def make_requests(model: Mapping[str, Any], limits: Mapping[str, int]) -> list[Request]:
    """The 40 requests, fitted to what `GET /model` says of the model and to the limits."""
    paths = [("/sample", SAMPLES), ("/denoise-trajectory", TRAJECTORIES)]
    asked = [(path, *entry) for path, entries in paths for entry in entries]
    return [
        Request(path, {**_fitted(fields, model, limits), "seed": seed}, accept)
        for seed, (path, accept, fields) in enumerate(asked)
    ]


def _fitted(
    fields: Mapping[str, Any], model: Mapping[str, Any], limits: Mapping[str, int]
) -> dict[str, Any]:
    T, classes = model["num_timesteps"], len(model["classes"])
    fitted = dict(fields)
    fitted["n"] = n = min(fields["n"], limits["max_samples"], limits["max_client_samples"])
    if "steps" in fields:
        fitted["steps"] = min(fields["steps"], T)
    if "frames" in fields:
        fitted["frames"] = min(fields["frames"], limits["max_frames"])
    if "timesteps" in fields:
        shown = [round(fraction * T) for fraction in fields["timesteps"]]
        fitted["timesteps"] = shown[-limits["max_frames"] :]
    if classes and model["null_label"] is None:  # it makes no image without a label
        fitted.setdefault("labels", LABELS)
    if "labels" in fitted:
        labels = fitted.pop("labels")
        if classes:
            is_list = isinstance(labels, range)
            fitted["labels"] = (
                [label % classes for label in labels[:n]] if is_list else labels % classes
            )
    if not classes or model["null_label"] is None:
        fitted.pop("guidance", None)
    return fitted


def read_content(accept: str, content: bytes) -> Content:
    """What an answer of that representation holds. Raises ValueError for one that is damaged."""
    if accept == JSON:
        return _of_json(json.loads(content))
    if accept == STREAM:
        return _of_stream(content)
    found = Content()
    if accept == ZIP:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                where = found.pictures if name.endswith(".png") else found.rest
                where[name] = _sha256(archive.read(name))
    elif accept == NPZ:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for name, array in arrays.items():
                found.pictures.update(_of_pictures(name, array))
                # A type and a shape, beside the numbers: equal bytes may mean other values.
                kind = f"{array.dtype} {array.shape}".encode()
                found.rest[f"the array {name}"] = _sha256(kind + array.tobytes())
    else:
        found.pictures["the picture"] = _sha256(content)
    found.rest["the file as a whole"] = _sha256(content)
    return found


def _of_json(body: dict[str, Any]) -> Content:
    found = Content()
    for sample in body.pop("samples", []):
        found.pictures[f"image {sample['index']}"] = _of_base64(sample.pop("png"))
        found.rest[f"the fields of image {sample['index']}"] = _of_object(sample)
    for trajectory in body.pop("trajectories", []):
        for frame in trajectory.pop("frames"):
            _add_frame(found, {"index": trajectory["index"], **frame})
        found.rest[f"the fields of image {trajectory['index']}"] = _of_object(trajectory)
    found.rest["the other fields"] = _of_object(body)
    return found


def _of_stream(content: bytes) -> Content:
    """Frames of different images may come in any order: which is first depends on the load."""
    found = Content()
    for name, data in parse_events(content):
        if name == "frame":
            _add_frame(found, data)
        elif name == "error":
            raise ValueError(f"an error in the stream: {data.get('detail')}")
        else:
            found.rest[f"the event {name}"] = _of_object(data)
    if "the event done" not in found.rest:
        raise ValueError("the stream ended before its time")
    return found


def _add_frame(found: Content, frame: Mapping[str, Any]) -> None:
    for picture in ("x_t", "x0_hat"):
        name = f"{picture} of image {frame['index']} at t = {frame['t']}"
        found.pictures[name] = _of_base64(frame[picture])


def _of_pictures(name: str, array: np.ndarray) -> dict[str, str]:
    """SHA-256 of each picture in an array of an npz; none where it holds no pictures."""
    leading = PICTURE_AXES.get(name)
    if leading is None:
        return {}
    places = np.ndindex(array.shape[:leading])
    return {f"{name}{list(place)}": _sha256(array[place].tobytes()) for place in places}


def _of_object(body: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in body.items() if key not in VARYING}
    return _sha256(json.dumps(kept, sort_keys=True).encode())


def _of_base64(text: str) -> str:
    return _sha256(base64.b64decode(text))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
