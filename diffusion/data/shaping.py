"""A decoded picture made into what the network takes: its channels, its background, its size."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor

from diffusion.config import Crop
from diffusion.data.names import as_bytes
from diffusion.data.resizing import resized

Array = np.ndarray
Colour = tuple[int, int, int]


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


def convert(image: Image.Image, form: Form, name: str) -> Array:
    """Convert a decoded picture of 8 bits a channel to uint8 (C,H,W)."""
    mode = "L" if form.channels == 1 else "RGB"
    shaped = _opaque(image, form.background)
    if shaped.mode != mode:
        shaped = shaped.convert(mode)
    if form.size is not None and form.size != (shaped.height, shaped.width):
        shaped = _fit(shaped, form, name)
    pixels = np.asarray(shaped)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _opaque(image: Image.Image, background: Colour) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer)


def _fit(image: Image.Image, form: Form, name: str) -> Image.Image:
    assert form.size is not None
    H, W = form.size
    if form.crop == "none":
        return resized(image, (W, H), (0, 0, W, H))
    choose = min if form.crop == "pad" else max
    scale = choose(W / image.width, H / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    spare_x, spare_y = W - width, H - height  # negative where it is to be cut
    if form.crop == "pad":
        fill = form.background if image.mode == "RGB" else _grey(form.background)
        canvas = Image.new(image.mode, (W, H), fill)
        scaled = resized(image, (width, height), (0, 0, width, height))
        canvas.paste(scaled, (spare_x // 2, spare_y // 2))
        return canvas
    left, top = -spare_x // 2, -spare_y // 2
    if form.crop == "random":
        x, y = (int(b) / 255 for b in hashlib.sha256(as_bytes(name)).digest()[:2])
        left, top = round(-spare_x * x), round(-spare_y * y)
    return resized(image, (width, height), (left, top, left + W, top + H))


def _grey(background: Colour) -> int:
    value = Image.new("RGB", (1, 1), background).convert("L").getpixel((0, 0))
    assert isinstance(value, int)
    return value
