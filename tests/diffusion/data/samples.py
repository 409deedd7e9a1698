"""Small pictures and archives, made as people's programs make them."""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray


def png(value: Any = 0, size: tuple[int, int] = (4, 4), mode: str = "L") -> bytes:
    """A picture of one colour, (width, height), as the bytes of a PNG."""
    return encoded(Image.new(mode, size, value))


def encoded(image: Image.Image, format: str = "PNG", exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"exif": exif} if exif else {}))
    return buffer.getvalue()


def ramp(height: int = 4, width: int = 4) -> Array:
    """Grey levels that are all different, uint8 (H,W)."""
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files by their paths inside the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip whose members have exactly these names."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as given: the constructor would make "\\" and "//" regular
            archive.writestr(info, content)
    return path


PIXELS = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
LABELS = np.array([2, 0, 1], np.uint8)


def idx(array: Array) -> bytes:
    """An array as an IDX file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()
