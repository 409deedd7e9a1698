"""Encodes results as bytes, in every representation of the HTTP contract.

All functions are pure and run outside the event loop. The same result gives the same bytes:
compression levels are fixed, and no file carries a time stamp.
"""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from app.generation.collect import Array, Result
from app.generation.plan import Plan
from diffusion import pixels

PNG_LEVEL = 6
FRAME_MILLISECONDS = 120
LAST_MILLISECONDS = 1500
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive, the earliest that zip can express."""


def png(image: Array) -> bytes:
    """Encode a uint8 image (H,W,C) as PNG."""
    buffer = io.BytesIO()
    pixels.picture(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def png_base64(x: Array) -> str:
    """Encode a float image (C,H,W) in [-1, 1] as PNG, in base64. Values outside are clipped."""
    return base64.b64encode(png(pixels.to_uint8(x))).decode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """Pack files, by name, into a zip without compression; all have the date EPOCH."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in files.items():
            out.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return buffer.getvalue()


def npz(arrays: Mapping[str, Array]) -> bytes:
    """Pack arrays, by name, into an npz that `numpy.load(..., allow_pickle=False)` reads."""
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[f"{name}.npy"] = buffer.getvalue()
    return archive(files)


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
    """Build a `schemas.Trajectory` as a dictionary, from float32 arrays (frames,C,H,W)."""
    frames = [
        {"t": t, "x_t": png_base64(x_t[k]), "x0_hat": png_base64(x_0_hat[k])}
        for k, t in enumerate(plan.shown_times)
    ]
    return {"index": index, "label": label, "frames": frames}


def sample_json(result: Result) -> bytes:
    """Encode the images as JSON, a `schemas.SampleResponse`."""
    plan = result.plan
    samples = [
        sample_entry(index, label, png(pixels.to_uint8(x_0)))
        for index, label, x_0 in zip(plan.submit.indices, plan.labels, result.x_0, strict=True)
    ]
    return to_json({**plan.header, "samples": samples, "timing": result.timing})


def sample_png(result: Result) -> bytes:
    """Encode the image as PNG; several as a near-square grid in index order."""
    return png(pixels.tile(pixels.to_uint8(result.x_0)))


def sample_zip(result: Result) -> bytes:
    """Pack each image as a PNG named by its index (000000.png), and request.json, into a zip."""
    files = {
        f"{index:06d}.png": png(image)
        for index, image in zip(
            result.plan.submit.indices, pixels.to_uint8(result.x_0), strict=True
        )
    }
    return archive({**files, "request.json": request_file(result.plan)})


def sample_npz(result: Result) -> bytes:
    """Pack `images`, uint8 (n,H,W,C), `index` and `label` into an npz."""
    return npz({"images": pixels.to_uint8(result.x_0), **names(result.plan)})


def trajectory_json(result: Result) -> bytes:
    """Encode the trajectories as JSON, a `schemas.TrajectoryResponse`."""
    plan = result.plan
    trajectories = [
        trajectory_entry(plan, index, label, result.x_t[i], result.x_0_hat[i])
        for i, (index, label) in enumerate(zip(plan.submit.indices, plan.labels, strict=True))
    ]
    return to_json({**plan.header, "trajectories": trajectories, "timing": result.timing})


def trajectory_npz(result: Result) -> bytes:
    """Pack `x_t` (not clipped) and `x0_hat`, float32 (n,frames,C,H,W), and `t`, `index` and `label`
    into an npz."""
    times = np.array(result.plan.shown_times)
    return npz({"x_t": result.x_t, "x0_hat": result.x_0_hat, "t": times, **names(result.plan)})


def film_strip(result: Result) -> bytes:
    """Encode x_t as one PNG: a row for each sample, a column for each frame."""
    n, frames = result.x_t.shape[:2]
    images = pixels.to_uint8(result.x_t).reshape(n * frames, *_pixel_shape(result))
    return png(pixels.tile(images, columns=frames))


def trajectory_gif(result: Result) -> bytes:
    """Animate the grid of x_t as a GIF, which repeats for ever."""
    return _animation(result, "GIF", {"loop": 0, "optimize": False})


def trajectory_webp(result: Result) -> bytes:
    """Animate the grid of x_t as a lossless WebP, which repeats for ever."""
    return _animation(result, "WEBP", {"loop": 0, "lossless": True, "quality": 50})


def trajectory_apng(result: Result) -> bytes:
    """Animate the grid of x_t as an animated PNG, which repeats for ever."""
    return _animation(result, "PNG", {"loop": 0, "compress_level": PNG_LEVEL})


def _animation(result: Result, kind: str, options: dict[str, Any]) -> bytes:
    images = pixels.to_uint8(result.x_t)  # (n, frames, H, W, C)
    grids: list[Image.Image] = [
        pixels.picture(pixels.tile(images[:, k])) for k in range(images.shape[1])
    ]
    durations = [FRAME_MILLISECONDS] * (len(grids) - 1) + [LAST_MILLISECONDS]
    buffer = io.BytesIO()
    grids[0].save(
        buffer, kind, save_all=True, append_images=grids[1:], duration=durations, **options
    )
    return buffer.getvalue()


def _pixel_shape(result: Result) -> tuple[int, int, int]:
    C, H, W = result.plan.image_shape
    return H, W, C
