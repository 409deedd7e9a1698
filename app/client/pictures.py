"""Pictures and states that a client sends, as text."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.client.results import Sample

Picture = Image.Image | np.ndarray | Sample | bytes | str | Path
"""A PIL image; an array uint8 (H,W) or (H,W,C); a sample that a server made; a file's bytes or its
path."""


def base64_of(name: str, picture: Any) -> str:
    """The picture's file in base64: a PNG, unless it is a file already. Raises ValueError, which
    names the field, for what is no picture, and OSError for a file that cannot be read."""
    match picture:
        case bytes():
            content = picture
        case str() | Path():
            content = Path(picture).read_bytes()
        case Sample():
            content = picture.png
        case Image.Image():
            content = _png(picture)
        case np.ndarray():
            content = _png(_image(name, picture))
        case _:
            raise _refused(name, picture, "it must be a PIL image, an array, bytes or a path")
    return base64.b64encode(content).decode()


def each(name: str, pictures: Any) -> str | list[str]:
    """One picture in base64, or each of several: a list of them, or an array (n,H,W,C)."""
    several = isinstance(pictures, Sequence) and not isinstance(pictures, str | bytes)
    if several or (isinstance(pictures, np.ndarray) and pictures.ndim == 4):
        return [base64_of(f"{name}[{i}]", picture) for i, picture in enumerate(pictures)]
    return base64_of(name, pictures)


def states(name: str, x_t: Any) -> str:
    """States (n,C,H,W) or (C,H,W) in base64 of an .npy. Raises ValueError for others."""
    array = np.asarray(x_t)
    if array.dtype.kind != "f" or array.ndim not in (3, 4):
        shown = f"{array.dtype} of shape {array.shape}"
        raise _refused(name, shown, "it must be float32 (n,C,H,W) or (C,H,W)")
    file = io.BytesIO()
    np.save(file, array.astype(np.float32))
    return base64.b64encode(file.getvalue()).decode()


def _image(name: str, array: np.ndarray) -> Image.Image:
    has_channels = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    if array.dtype != np.uint8 or not (array.ndim == 2 or has_channels):
        shown = f"{array.dtype} of shape {array.shape}"
        raise _refused(name, shown, "it must be uint8 (H,W) or (H,W,C) with 1, 3 or 4 channels")
    return Image.fromarray(array[:, :, 0] if has_channels and array.shape[2] == 1 else array)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _refused(name: str, value: object, reason: str) -> ValueError:
    return ValueError(f"{name}: {str(value)[:80]} is not allowed: {reason}")
