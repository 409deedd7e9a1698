"""One image file as the network sees it: uint8 (C,H,W), upright, opaque and of the wanted size.

The rule for each question:

- Depth. 16-bit grey is divided by 257, so that 0..65535 becomes 0..255; 12-bit grey likewise. Of
  16-bit colour the upper byte is taken. Signed pixels, and those of 32 bits or of floating point,
  have no known range, and are refused.
- Channels. A picture is grey if its mode is grey, or if all colours of its palette are that it
  uses. Otherwise it is RGB.
- Transparency. It is composited on the background.
- Orientation. What a camera wrote in the EXIF data is done; damaged EXIF data say nothing.
- Several frames or pages. The first one is taken.

Nothing is decoded before its size is known from the header. No torch here: this runs in threads,
and a program may import it alone.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from diffusion.data.shaping import Array, Form, convert

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file's name. Others of Pillow's formats start programs, as EPS."""
MAX_PIXELS = 89_478_485
"""Pixels of one picture, at most: Pillow's own limit, 256 MiB as RGB."""
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
DEEP_FORMATS = {"PNG", "PPM", "JPEG2000"}
"""Where Pillow's mode I means 16 bits: these formats have no deeper grey."""
STRIP_PIXELS = 1 << 20
"""Pixels of 16 bits that are converted together, so that they take little memory."""
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow raises for a picture of far too many pixels."""

BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 0x0102, 0x0106, 0x0112, 0x0153  # TIFF's tags
WHITE_IS_ZERO, SIGNED = 0, 2  # their values
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What turns a picture of each EXIF orientation upright."""
ON_ITS_SIDE = (5, 6, 7, 8)
PNG_NOTES = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""One of these is in every PNG that tells its orientation."""
KEY_SCALES = {"L;2": 85, "L;4": 17}
"""By how much Pillow multiplies a PNG's grey of 2 and 4 bits, but not its transparent level."""


class PictureError(ValueError):
    """An image cannot be used; the message is the reason, without the file's name."""


class UnknownFormat(PictureError):
    """A file is no image of a format that is opened."""


class TooLarge(PictureError):
    """A file has more pixels than are decoded."""


class Look(NamedTuple):
    """What is known of a picture before its pixels are converted."""

    size: tuple[int, int]  # (H, W), upright
    channels: int  # 1 or 3
    has_frames: bool  # more than one, or pages


@dataclass(frozen=True)
class Accepted:
    """Which image files are opened: of which of Pillow's formats, and how many pixels a side may
    have, at most. Files of others are refused before anything of them is decoded."""

    formats: tuple[str, ...] = FORMATS
    max_side: int = MAX_PIXELS


EVERYTHING = Accepted()


def look(raw: bytes, accepted: Accepted = EVERYTHING) -> Look:
    """Read the header of an image file. Raises PictureError where it is not one to be used."""
    with _refusing():
        image = _open(raw, accepted)
        channels = 1 if _is_grey(image) else 3
        size = (image.height, image.width)
        if _orientation(image, raw) in ON_ITS_SIDE:
            size = (image.width, image.height)
        # The second picture in a camera's JPEG (MPO) is a preview, or for the other eye
        has_frames = image.format != "MPO" and getattr(image, "is_animated", False)
        return Look(size, channels, has_frames)


def decode(raw: bytes, form: Form, name: str, accepted: Accepted = EVERYTHING) -> Array:
    """Convert an image file to uint8 (C,H,W). Raises PictureError where that cannot be done."""
    with _refusing():
        image = _open(raw, accepted)
        image.load()
        turn = TURNS.get(_orientation(image, raw))
        shallow = _eight_bits(image)
        return convert(shallow if turn is None else shallow.transpose(turn), form, name)


@contextmanager
def only_bombs_warned_of() -> Iterator[None]:
    """Make Pillow's warning of a decompression bomb an error of its picture, and ignore the others:
    cameras and programs do many things wrong that leave the pixels whole.

    This holds for all threads of the process.
    """
    with warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _refusing() -> Iterator[None]:
    """What a damaged file makes Pillow raise is not limited to its own errors."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise UnknownFormat("not an image of a format that is known") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = TooLarge if isinstance(error, BOMBS) else PictureError
        raise kind(f"not a readable image: {reason}") from error


def _open(raw: bytes, accepted: Accepted) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(raw), formats=accepted.formats)
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise TooLarge(f"{width} x {height} pixels; 1 to {MAX_PIXELS} are allowed")
    if max(width, height) > accepted.max_side:
        side = accepted.max_side
        raise TooLarge(f"{width} x {height} pixels; at most {side} x {side} are allowed")
    kind = _rangeless(image)
    if kind:
        raise PictureError(f"its pixels are {kind}, whose range is not known; save 8 or 16 bits")
    if image.format == "PNG" and "transparency" in image.info and image.tile:
        image.info["transparency"] = _key(image.info["transparency"], str(image.tile[0].args))
    return image


def _rangeless(image: Image.Image) -> str:
    """Name the kind of numbers that the pixels are, if it does not tell what is white."""
    if image.mode == "F":
        return "floating-point numbers"
    if SIGNED in _tag(image, SAMPLE_FORMAT, ()) and _tag(image, BITS, None) != (32,):
        return "signed numbers"
    return "32-bit numbers" if image.mode == "I" and image.format not in DEEP_FORMATS else ""


def _tag(image: Image.Image, tag: int, default: Any) -> Any:
    """Return the value of a TIFF's tag; the default where it lacks, or in another format."""
    return image.tag_v2.get(tag, default) if hasattr(image, "tag_v2") else default


def _key(key: Any, raw_mode: str) -> Any:
    """Scale a PNG's transparent colour as Pillow scales the pixels that it is compared with."""
    if raw_mode in KEY_SCALES:
        return key * KEY_SCALES[raw_mode]
    if raw_mode == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key


def _orientation(image: Image.Image, raw: bytes) -> int:
    """Return the EXIF orientation that is still to be undone; 1 is upright."""
    if image.format == "TIFF":  # Pillow turns it itself: its size when opened, its pixels when read
        return 1
    # EXIF data may follow the pixels of a PNG, and Pillow decodes these to find out
    if image.format == "PNG" and not any(note in raw for note in PNG_NOTES):
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data raise whatever they like; the pixels are whole
        return 1


def _is_grey(image: ImageFile.ImageFile) -> bool:
    if image.mode in ("P", "PA"):
        return _is_grey_palette(image)
    # Pillow opens a PNG of 16-bit grey with alpha as RGBA
    return image.mode in GREY_MODES or (bool(image.tile) and image.tile[0].args == "LA;16B")


def _is_grey_palette(image: Image.Image) -> bool:
    """Are all colours grey that the picture uses? Programs fill up the rest with anything."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    coloured = np.flatnonzero((colours != colours[:, :1]).any(axis=1))
    if not len(coloured):
        return True
    counts = np.array(image.histogram()[:256])  # those of the palette's numbers, without alpha
    return not counts[coloured].any()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert grey of 12 or 16 bits to 8, strip by strip; other pictures stay as they are."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    white = 4095 if _tag(image, BITS, None) == (12,) else 65535
    key = image.info.get("transparency")
    grey = np.empty((image.height, image.width), np.uint8)
    alpha = None if key is None else np.empty_like(grey)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        end = min(top + rows, image.height)
        deep = np.asarray(image.crop((0, top, image.width, end))).astype(np.uint32)
        grey[top:end] = (deep * 255 + white // 2) // white
        if alpha is not None:
            alpha[top:end] = np.where(deep == key, 0, 255)
    if _tag(image, PHOTOMETRIC, None) == WHITE_IS_ZERO:
        np.subtract(255, grey, out=grey)
    shallow = Image.fromarray(grey)
    if alpha is not None:
        shallow.putalpha(Image.fromarray(alpha))
    return shallow
