"""Encodes results as bytes, in every representation of the HTTP contract.

All functions are pure and run outside the event loop. The same result gives the same bytes:
compression levels are fixed, and no file carries a time stamp.
"""

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple, cast

import numpy as np
from PIL import Image

from app.generation.collect import Array, Result
from app.generation.plan import Plan
from app.generation.png import PNG_LEVEL, png
from app.generation.zip_stream import BLOCK_BYTES, Body, Entry, archive, archive_of_many, npy_file
from diffusion import pixels

FRAME_MILLISECONDS = 120
LAST_MILLISECONDS = 1500


class Encoded(NamedTuple):
    """An answer's body: its size in bytes, and its blocks, which may be read by several."""

    size: int
    blocks: Iterable[bytes]


class Sink(io.RawIOBase):
    """A file that is only written, and is kept as blocks: whole bytes would need them twice."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._tail = bytearray()
        self._size = 0

    def writable(self) -> bool:
        """Say that it can be written to, always."""
        return True

    def write(self, content: Any) -> int:
        """Append bytes."""
        view = memoryview(content).cast("B")
        self._size += len(view)
        for start in range(0, len(view), BLOCK_BYTES):
            self._tail += view[start : start + BLOCK_BYTES]
            if len(self._tail) >= BLOCK_BYTES:
                self._blocks.append(bytes(self._tail))
                self._tail.clear()
        return len(view)

    def encoded(self) -> Encoded:
        """What was written."""
        self._blocks.append(bytes(self._tail))
        return Encoded(self._size, self._blocks)


class _Whole:
    """All blocks of a body, made anew for each reader."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._body.blocks(0, self._body.size)


def png_base64(x: Array) -> str:
    """Encode a float image (C,H,W) in [-1, 1] as PNG, in base64. Values outside are clipped."""
    return base64.b64encode(png(pixels.to_uint8(x))).decode()


def to_json(body: Mapping[str, Any]) -> bytes:
    """Encode a JSON object as UTF-8, without spaces."""
    return json.dumps(body, separators=(",", ":")).encode()


def names(plan: Plan) -> dict[str, Array]:
    """Arrays `index` and `label`, int (n,), that name the samples; label -1 means none."""
    labels = [-1 if label is None else label for label in plan.labels]
    return {"index": np.array(plan.submit.indices), "label": np.array(labels)}


def request_file(plan: Plan) -> bytes:
    """Encode request.json: the model, its SHA-256 and the request, to make the samples again."""
    fields = {"model": plan.model, "sha256": plan.sha256, "request": plan.request}
    return json.dumps(fields, indent=2).encode()


def sample_entry(index: int, label: int | None, content: bytes) -> dict[str, Any]:
    """Build a `schemas.Sample` as a dictionary; `content` is its PNG."""
    return {
        "index": index,
        "label": label,
        "png": base64.b64encode(content).decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def trajectory_entry(
    plan: Plan, index: int, label: int | None, x_t: Array, x_0_hat: Array
) -> dict[str, Any]:
    """Build a `schemas.Trajectory` as a dictionary, from uint8 arrays (frames,H,W,C)."""
    frames = [
        {
            "t": t,
            "x_t": base64.b64encode(png(x_t[k])).decode(),
            "x0_hat": base64.b64encode(png(x_0_hat[k])).decode(),
        }
        for k, t in enumerate(plan.shown_times)
    ]
    return {"index": index, "label": label, "frames": frames}


def json_blocks(
    plan: Plan, name: str, entries: Iterable[Mapping[str, Any]], timing: Mapping[str, float]
) -> Iterator[bytes]:
    """A JSON answer in blocks, with the entries under `name`: one of them is in memory at a
    time."""
    block = bytearray(to_json({**plan.header, name: []})[:-2])
    separator = b""
    for entry in entries:
        block += separator + to_json(entry)
        separator = b","
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block) + b"]," + to_json({"timing": timing})[1:]


def sample_json(result: Result) -> Encoded:
    """Encode the images as JSON, a `schemas.SampleResponse`."""
    plan = result.plan
    entries = (
        sample_entry(index, label, png(image))
        for index, label, image in zip(plan.submit.indices, plan.labels, result.x_0, strict=True)
    )
    return _collected(json_blocks(plan, "samples", entries, result.timing))


def sample_png(result: Result) -> Encoded:
    """Encode the image as PNG; several as a near-square grid in index order."""
    return _picture(pixels.tile(result.x_0))


def sample_zip(result: Result) -> Encoded:
    """Pack each image as a PNG named by its index (000000.png), and request.json, into a zip."""
    contents = [*map(png, result.x_0), request_file(result.plan)]
    file_names = [*(f"{index:06d}.png" for index in result.plan.submit.indices), "request.json"]
    entries = [
        Entry(name, len(content), zlib.crc32(content))
        for name, content in zip(file_names, contents, strict=True)
    ]
    return _whole(archive_of_many(len(entries), entries.__getitem__, contents.__getitem__))


def sample_npz(result: Result) -> Encoded:
    """Pack `images`, uint8 (n,H,W,C), `index` and `label` into an npz."""
    return npz({"images": result.x_0, **names(result.plan)})


def trajectory_json(result: Result) -> Encoded:
    """Encode the trajectories as JSON, a `schemas.TrajectoryResponse`."""
    plan = result.plan
    entries = (
        trajectory_entry(plan, index, label, result.x_t[i], result.x_0_hat[i])
        for i, (index, label) in enumerate(zip(plan.submit.indices, plan.labels, strict=True))
    )
    return _collected(json_blocks(plan, "trajectories", entries, result.timing))


def trajectory_npz(result: Result) -> Encoded:
    """Pack `x_t` (not clipped) and `x0_hat`, float32 (n,frames,C,H,W), and `t`, `index` and `label`
    into an npz."""
    times = np.array(result.plan.shown_times)
    return npz({"x_t": result.x_t, "x0_hat": result.x_0_hat, "t": times, **names(result.plan)})


def encode_json(result: Result) -> Encoded:
    """Encode the last states as JSON, a `schemas.EncodeResponse`."""
    plan, file = result.plan, io.BytesIO()
    np.save(file, result.x_t[:, 0])
    body = {
        "id": plan.submit.id,
        "model": plan.model,
        "steps": plan.steps,
        "t": plan.shown_times[0],
        "x_t": base64.b64encode(file.getvalue()).decode(),
        "timing": result.timing,
    }
    return _collected([to_json(body)])


def encode_npz(result: Result) -> Encoded:
    """Pack the last states `x_t`, float32 (n,C,H,W), and their `t` into an npz."""
    return npz({"x_t": result.x_t[:, 0], "t": np.array(result.plan.shown_times[0])})


def film_strip(result: Result) -> Encoded:
    """Encode x_t as one PNG: a row for each sample, a column for each frame."""
    n, frames, *shape = result.x_t.shape
    return _picture(pixels.tile(result.x_t.reshape(n * frames, *shape), columns=frames))


def trajectory_gif(result: Result) -> Encoded:
    """Animate the grid of x_t as a GIF, which repeats for ever."""
    return _animation(result, "GIF", {"loop": 0, "optimize": False})


def trajectory_webp(result: Result) -> Encoded:
    """Animate the grid of x_t as a lossless WebP, which repeats for ever."""
    return _animation(result, "WEBP", {"loop": 0, "lossless": True, "quality": 50})


def trajectory_apng(result: Result) -> Encoded:
    """Animate the grid of x_t as an animated PNG, which repeats for ever."""
    return _animation(result, "PNG", {"loop": 0, "compress_level": PNG_LEVEL})


class _Grids:
    """The grid of x_t at each frame but the first. Each is made when Pillow asks for it, which it
    does more than once."""

    def __init__(self, x_t: Array) -> None:
        self._x_t = x_t  # (n, frames, H, W, C)

    def __iter__(self) -> Iterator[Image.Image]:
        return (self[k] for k in range(1, self._x_t.shape[1]))

    def __getitem__(self, frame: int) -> Image.Image:
        return pixels.picture(pixels.tile(self._x_t[:, frame]))


def _animation(result: Result, kind: str, options: dict[str, Any]) -> Encoded:
    grids, sink = _Grids(result.x_t), Sink()
    durations = [FRAME_MILLISECONDS] * (result.x_t.shape[1] - 1) + [LAST_MILLISECONDS]
    grids[0].save(
        cast(IO[bytes], sink), kind, save_all=True, append_images=grids, duration=durations,
        **options,
    )  # fmt: skip
    return sink.encoded()


def _picture(image: Array) -> Encoded:
    sink = Sink()
    pixels.picture(image).save(cast(IO[bytes], sink), "PNG", compress_level=PNG_LEVEL)
    return sink.encoded()


def _collected(blocks: Iterable[bytes]) -> Encoded:
    kept = list(blocks)
    return Encoded(sum(map(len, kept)), kept)


def npz(arrays: Mapping[str, Array]) -> Encoded:
    """Pack arrays into an npz."""
    return _whole(archive([npy_file(name, array) for name, array in arrays.items()]))


def _whole(body: Body) -> Encoded:
    return Encoded(body.size, _Whole(body))
