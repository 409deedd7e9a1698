"""Pictures and states that a client sends, as text."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from app.client.results import Sample
from app.client.values import refused

Picture = Image.Image | np.ndarray | Sample | bytes | str | Path
"""A PIL image; an array uint8 or bool, (H,W) or (H,W,C); a sample that a server made; a file's
bytes or its path."""

WANTED = "it must be a PIL image, an array, a file's bytes or its path"
AS_ARRAY = "it must be uint8 or bool, (H,W) or (H,W,C) with 1, 3 or 4 channels"
MAX_MIB = 4
"""The largest file of a picture that a server takes (docs/http.md)."""
IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
CONVERTED = {
    "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB",
    "HSV": "RGB", "I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16",
}  # fmt: skip
"""PIL's modes that a PNG cannot have, and those that show the same."""


def base64_of(name: str, picture: Any) -> str:
    """The picture's file in base64: a PNG, unless it is a file already.

    Raises ValueError, which names the field, for what is no picture or too large, and OSError for
    a file that cannot be read.
    """
    match picture:
        case bytes() | bytearray() | memoryview():
            content = bytes(picture)
        case str() | Path():
            content = _file(name, picture)
        case Sample():
            content = picture.png
        case Image.Image():
            content = _png(name, picture)
        case _ if hasattr(picture, "__array__"):
            content = _png(name, _image(name, _array(name, picture)))
        case _:
            raise refused(name, picture, WANTED)
    if len(content) > MAX_MIB * 2**20:
        raise ValueError(
            f"{name}: a file of {len(content) / 2**20:.1f} MiB is not allowed: a picture may have "
            f"{MAX_MIB} MiB; make it smaller, such as by image.thumbnail((512, 512))"
        )
    return base64.b64encode(content).decode()


def each(name: str, pictures: Any) -> str | list[str]:
    """One picture in base64, or each of several: a list of them, or an array (n,H,W,C)."""
    one = str | bytes | bytearray | memoryview
    is_list = isinstance(pictures, Sequence) and not isinstance(pictures, one)
    if not is_list and len(getattr(pictures, "shape", ())) != 4:
        return base64_of(name, pictures)
    if not len(pictures):
        raise refused(name, pictures, "it must be one picture or more")
    return [base64_of(f"{name}[{i}]", picture) for i, picture in enumerate(pictures)]


def mask_of(name: str, mask: Any) -> str:
    """A mask in base64: white, or True, is made anew. Raises as `base64_of` does, and for an array
    of 0 and 1, which is black all over."""
    if hasattr(mask, "__array__") and not isinstance(mask, Image.Image):
        array = _array(name, mask)
        if array.dtype == np.uint8 and array.size and array.max() == 1:
            raise refused(name, mask, "it has 0 and 1 alone, where 255 is white; make it bool")
    return base64_of(name, mask)


def states(name: str, x_t: Any) -> str:
    """States (n,C,H,W) or (C,H,W) in base64 of an .npy. Raises ValueError for others."""
    array = _array(name, x_t)
    if array.dtype.kind != "f" or array.ndim not in (3, 4) or not array.size:
        raise refused(name, array, "it must be float32 (n,C,H,W) or (C,H,W)")
    if not (np.abs(array) <= np.finfo(np.float32).max).all():  # false for NaN, too
        raise refused(name, array, "its numbers must be finite in float32")
    file = io.BytesIO()
    np.save(file, array.astype(np.float32))
    return base64.b64encode(file.getvalue()).decode()


def _file(name: str, path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except ValueError as error:  # a path with a null byte
        raise refused(name, path, f"{WANTED}; {error}") from None


def _array(name: str, value: Any) -> np.ndarray:
    """The value as an array; PyTorch's raise where they are on a GPU or need gradients."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise refused(name, value, f"it is no array: {error}") from None


def _image(name: str, array: np.ndarray) -> Image.Image:
    has_channels = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    fits = array.dtype in (np.uint8, np.bool_) and (array.ndim == 2 or has_channels)
    if not fits or not array.size:
        raise refused(name, array, AS_ARRAY + _advice(array))
    values = array * np.uint8(255) if array.dtype == np.bool_ else array
    return Image.fromarray(values[:, :, 0] if has_channels and array.shape[2] == 1 else values)


def _advice(array: np.ndarray) -> str:
    """How an array becomes one that is allowed, where that can be told."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] > 4:
        return "; channels last: x.transpose(1, 2, 0)"
    if array.dtype == np.uint8 or array.dtype.kind not in "fiu" or not array.size:
        return ""
    least, most = array.min(), array.max()
    is_float = array.dtype.kind == "f"
    made = ""
    if 0 <= least and most <= 1:
        made = ": (255 * x).round().astype('uint8')" if is_float else ": x.astype(bool)"
    elif -1 <= least and most <= 1 and is_float:
        made = ": (127.5 * (x + 1)).round().astype('uint8')"
    elif 0 <= least and most <= 255:
        made = ": x.round().astype('uint8')" if is_float else ": x.astype('uint8')"
    return f"; its values are {least:.4g}..{most:.4g}{made}"


def _png(name: str, image: Image.Image) -> bytes:
    """The image as PNG, turned as its camera says. Raises ValueError where it cannot be had."""
    if image.mode not in IN_PNG and image.mode not in CONVERTED:
        reason = "its mode must be L, RGB or RGBA, or an array uint8 tell what is white"
        raise refused(name, image, reason)
    file = io.BytesIO()
    try:
        turned = ImageOps.exif_transpose(image)
        mode = CONVERTED.get(turned.mode)
        (turned.convert(mode) if mode else turned).save(file, "PNG")
    except (OSError, ValueError, SyntaxError, SystemError) as error:  # closed, cut off, empty
        raise refused(name, image, f"it cannot be read: {error}") from None
    return file.getvalue()
