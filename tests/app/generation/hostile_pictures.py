"""Pictures that clients send to harm, or by mistake, and what is right."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png_that_claims(width: int, height: int, content: bytes = b"") -> bytes:
    """A grey PNG of that size with so much of its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def jpeg_of_many_scans(scans: int) -> bytes:
    """A progressive JPEG of 4096 x 4096 pixels whose last scan comes again and again: each takes
    the decoder through the whole picture."""
    raw = encoded(Image.new("L", (4096, 4096)), "JPEG", progressive=True)
    start = raw.rindex(b"\xff\xda")
    last = raw[start : raw.rindex(b"\xff\xd9")]
    return raw[:start] + last * scans + b"\xff\xd9"


def polyglot() -> bytes:
    """A PNG that is a zip, too."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("run.js", "alert(1)")
    return encoded(Image.fromarray(RAMP)) + archive.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><script/></svg>'
PNG = encoded(Image.fromarray(RAMP))
REFUSED = {
    "empty": (b"", "not an image"),
    "text": (b"a picture", "not an image"),
    "svg": (SVG, "PNG, JPEG, WebP and GIF are allowed"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image"),
    "tiff": (encoded(Image.fromarray(RAMP), "TIFF"), "not an image"),
    "100,000 x 100,000": (png_that_claims(100_000, 100_000), "decompression bomb"),
    "60,000 x 1": (png_that_claims(60_000, 1, bytes(60_001)), "at most 4096 x 4096"),
    "0 x 0": (png_that_claims(0, 0), "not an image"),
    "cut": (PNG[: PNG.index(b"IDAT") + 12], "not a readable image"),
    "half of a JPEG": (encoded(Image.fromarray(RAMP), "JPEG")[:200], "not a readable image"),
    "without pixels": (png_that_claims(8, 8), "not a readable image"),
    "1 x 1": (encoded(Image.new("L", (1, 1))), "it is 1 x 1 pixels"),
    "noise behind a signature": (PNG[:16] + bytes(range(256)), ""),
}
"""What is refused as a picture of 8 x 8, and a part of the reason."""


def accepted() -> dict[str, tuple[bytes, np.ndarray]]:
    """What is read as a grey picture of 8 x 8: the file, and its pixels."""
    grey = Image.fromarray(RAMP)
    half_clear = Image.merge(
        "LA", (grey, Image.fromarray(np.where(RAMP < 128, 0, 255).astype("B")))
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    later = [Image.new("L", (8, 8), 255)] * 3
    deep = RAMP.astype(np.uint16) * 257
    return {
        "grey": (PNG, RAMP),
        "palette": (encoded(grey.convert("P")), RAMP),
        "GIF": (encoded(grey, "GIF"), RAMP),
        "WebP": (encoded(grey, "WEBP", lossless=True), RAMP),
        "16 bits": (encoded(Image.fromarray(deep)), RAMP),
        "RGB": (encoded(grey.convert("RGB")), RAMP),
        "transparent": (encoded(half_clear), np.where(RAMP < 128, 0, RAMP)),
        "turned": (encoded(grey, exif=exif), np.rot90(RAMP, -1)),
        "animated GIF": (encoded(grey, "GIF", save_all=True, append_images=later), RAMP),
        "animated PNG": (encoded(grey, save_all=True, append_images=later), RAMP),
        "a zip, too": (polyglot(), RAMP),
    }
