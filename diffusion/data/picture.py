"""One image file as the network sees it: uint8 (C,H,W), upright, opaque and of the wanted size.

The rule for each question:

- Depth. 16-bit grey is divided by 257, so that 0..65535 becomes 0..255. Pixels of 32 bits or of
  floating point have no known range, and are refused.
- Channels. A picture is grey if its mode is grey, or if all its colours are. Otherwise it is RGB.
- Transparency. It is composited on the background.
- Orientation. What a camera wrote in the EXIF data is done.
- Animation. The first frame is taken.

Nothing is decoded before its size is known from the header. No torch here: this runs in threads,
and a program may import it alone.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from diffusion.config import Crop

MAX_PIXELS = 89_478_485
"""Pixels of one picture, at most: Pillow's own limit, 256 MiB as RGB."""
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
DEEP_FORMATS = {"PNG", "PPM", "JPEG2000"}
"""Where Pillow's mode I means 16 bits: these formats have no deeper grey."""

ORIENTATION = 0x0112  # the EXIF tag

Array = np.ndarray
Colour = tuple[int, int, int]


class PictureError(ValueError):
    """An image cannot be used; the message is the reason, without the file's name."""


class Look(NamedTuple):
    """What is known of a picture before its pixels are converted."""

    size: tuple[int, int]  # (H, W), upright
    channels: int  # 1 or 3
    is_animated: bool


@dataclass(frozen=True)
class Form:
    """What every picture is made into.

    `size` is (H, W); None: as the picture is. `crop` says how a picture of another shape gets
    there: `center` and `random` scale the shorter side and cut the longer one, in the middle or at
    a place that follows from the picture's name; `pad` scales the longer side and fills up with the
    background; `none` scales both sides, and distorts.
    """

    channels: int
    size: tuple[int, int] | None = None
    crop: Crop = "center"
    background: Colour = (255, 255, 255)


def colour(text: str) -> Colour:
    """Read an opaque colour as CSS writes it: white, #fff, rgb(255, 255, 255).

    Raises ValueError, or OverflowError where a number is too large.
    """
    red, green, blue, *alpha = ImageColor.getrgb(text)
    if alpha or not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"{text!r} is not an opaque colour with values of 0..255")
    return (red, green, blue)


def look(raw: bytes) -> Look:
    """Read the header of an image file. Raises PictureError where it is not one to be used."""
    with _refusing():
        image = _open(raw)
        size = (image.height, image.width)
        if image.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # those that lie on their side
            size = (image.width, image.height)
        channels = 1 if image.mode in GREY_MODES or _is_grey_palette(image) else 3
        return Look(size, channels, getattr(image, "is_animated", False))


def decode(raw: bytes, form: Form, name: str) -> Array:
    """Convert an image file to uint8 (C,H,W). Raises PictureError where that cannot be done."""
    with _refusing():
        image = ImageOps.exif_transpose(_open(raw))
        image.load()
        return convert(image, form, name)


@contextmanager
def _refusing() -> Iterator[None]:
    """What a damaged file makes Pillow raise is not limited to its own errors."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError("not an image of a format that is known") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"not a readable image: {reason}") from error


def convert(image: Image.Image, form: Form, name: str) -> Array:
    """Convert a decoded picture to uint8 (C,H,W). Raises PictureError for pixels without a known
    range."""
    opaque = _opaque(_eight_bits(image), form.background)
    shaped = opaque.convert("L" if form.channels == 1 else "RGB")
    if form.size is not None and form.size != (shaped.height, shaped.width):
        shaped = _fit(shaped, form, name)
    pixels = np.asarray(shaped)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _open(raw: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(raw))
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise PictureError(f"{width} x {height} pixels; 1 to {MAX_PIXELS} are allowed")
    if image.mode == "F" or (image.mode == "I" and image.format not in DEEP_FORMATS):
        kind = "floating-point numbers" if image.mode == "F" else "32-bit numbers"
        raise PictureError(f"its pixels are {kind}, whose range is not known; save 8 or 16 bits")
    return image


def _is_grey_palette(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return False
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.round(deep / 257).astype(np.uint8))
    return image


def _opaque(image: Image.Image, background: Colour) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer)


def _fit(image: Image.Image, form: Form, name: str) -> Image.Image:
    assert form.size is not None
    H, W = form.size
    if form.crop == "none":
        return _resize(image, (W, H))
    choose = min if form.crop == "pad" else max
    scale = choose(W / image.width, H / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = _resize(image, size)
    spare_x, spare_y = W - scaled.width, H - scaled.height  # negative where it is to be cut
    if form.crop == "pad":
        fill = form.background if image.mode == "RGB" else _grey(form.background)
        canvas = Image.new(image.mode, (W, H), fill)
        canvas.paste(scaled, (spare_x // 2, spare_y // 2))
        return canvas
    left, top = -spare_x // 2, -spare_y // 2
    if form.crop == "random":
        x, y = (int(b) / 255 for b in hashlib.sha256(name.encode()).digest()[:2])
        left, top = round(-spare_x * x), round(-spare_y * y)
    return scaled.crop((left, top, left + W, top + H))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a picture: smaller by the mean over areas, larger by Lanczos' filter."""
    smaller = size[0] * size[1] < image.width * image.height
    return image.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS)


def _grey(background: Colour) -> int:
    value = Image.new("RGB", (1, 1), background).convert("L").getpixel((0, 0))
    assert isinstance(value, int)
    return value
