"""Results as bytes: every representation of the contract. Pure functions, run off the event loop.

The same result gives the same bytes: fixed compression levels, no time stamps.
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
"""The date of every file in an archive."""


def png(image: Array) -> bytes:
    """uint8 (H,W,C) as PNG."""
    buffer = io.BytesIO()
    pixels.picture(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def png_base64(x: Array) -> str:
    """float (C,H,W) as PNG, base64."""
    return base64.b64encode(png(pixels.to_uint8(x))).decode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip without compression or dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in files.items():
            out.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return buffer.getvalue()


def npz(arrays: Mapping[str, Array]) -> bytes:
    """Arrays for `numpy.load(..., allow_pickle=False)`."""
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[f"{name}.npy"] = buffer.getvalue()
    return archive(files)


def to_json(body: Mapping[str, Any]) -> bytes:
    """Compact, as UTF-8."""
    return json.dumps(body, separators=(",", ":")).encode()


def names(plan: Plan) -> dict[str, Array]:
    """Index and label of each sample; label -1: none."""
    labels = [-1 if label is None else label for label in plan.labels]
    return {"index": np.array(plan.submit.indices), "label": np.array(labels)}


def request_file(plan: Plan) -> bytes:
    """request.json: the model and the request that give these samples again."""
    fields = {"model": plan.model, "sha256": plan.sha256, "request": plan.request}
    return json.dumps(fields, indent=2).encode()


def sample_entry(index: int, label: int | None, content: bytes) -> dict[str, Any]:
    """`schemas.Sample`, of a PNG."""
    return {
        "index": index,
        "label": label,
        "png": base64.b64encode(content).decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def trajectory_entry(
    plan: Plan, index: int, label: int | None, x_t: Array, x_0_hat: Array
) -> dict[str, Any]:
    """`schemas.Trajectory`, of float32 (frames,C,H,W) arrays."""
    frames = [
        {"t": t, "x_t": png_base64(x_t[k]), "x0_hat": png_base64(x_0_hat[k])}
        for k, t in enumerate(plan.shown_times)
    ]
    return {"index": index, "label": label, "frames": frames}


def sample_json(result: Result) -> bytes:
    """`SampleResponse`."""
    plan = result.plan
    samples = [
        sample_entry(index, label, png(pixels.to_uint8(x_0)))
        for index, label, x_0 in zip(plan.submit.indices, plan.labels, result.x_0, strict=True)
    ]
    return to_json({**plan.header, "samples": samples, "timing": result.timing})


def sample_png(result: Result) -> bytes:
    """The image itself, or a near-square grid in index order."""
    return png(pixels.tile(pixels.to_uint8(result.x_0)))


def sample_zip(result: Result) -> bytes:
    """000000.png … by sample index, and request.json, which repeats them."""
    files = {
        f"{index:06d}.png": png(image)
        for index, image in zip(
            result.plan.submit.indices, pixels.to_uint8(result.x_0), strict=True
        )
    }
    return archive({**files, "request.json": request_file(result.plan)})


def sample_npz(result: Result) -> bytes:
    """`images` uint8 (n,H,W,C), `index`, `label`."""
    return npz({"images": pixels.to_uint8(result.x_0), **names(result.plan)})


def trajectory_json(result: Result) -> bytes:
    """`TrajectoryResponse`."""
    plan = result.plan
    trajectories = [
        trajectory_entry(plan, index, label, result.x_t[i], result.x_0_hat[i])
        for i, (index, label) in enumerate(zip(plan.submit.indices, plan.labels, strict=True))
    ]
    return to_json({**plan.header, "trajectories": trajectories, "timing": result.timing})


def trajectory_npz(result: Result) -> bytes:
    """`x_t`, `x0_hat` float32 (n,frames,C,H,W), unclipped; `t`, `index`, `label`."""
    times = np.array(result.plan.shown_times)
    return npz({"x_t": result.x_t, "x0_hat": result.x_0_hat, "t": times, **names(result.plan)})


def film_strip(result: Result) -> bytes:
    """PNG of x_t: a row per sample, a column per frame."""
    n, frames = result.x_t.shape[:2]
    images = pixels.to_uint8(result.x_t).reshape(n * frames, *_pixel_shape(result))
    return png(pixels.tile(images, columns=frames))


def trajectory_gif(result: Result) -> bytes:
    """The grid of x_t, animated, for ever."""
    return _animation(result, "GIF", {"loop": 0, "optimize": False})


def trajectory_webp(result: Result) -> bytes:
    """The same, lossless."""
    return _animation(result, "WEBP", {"loop": 0, "lossless": True, "quality": 50})


def trajectory_apng(result: Result) -> bytes:
    """The same, lossless."""
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
