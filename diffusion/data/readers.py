"""Data sets read from IDX files, an .npz, or a folder or zip of images.

`datasets.load` picks the reader. All images are held in memory, as uint8.
"""

import gzip
import io
import logging
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

log = logging.getLogger(__name__)

Split = Literal["train", "test"]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
Array = np.ndarray


class DataError(ValueError):
    """A data set is missing, damaged or of the wrong shape; the message says which and why."""


class NoSplitError(DataError):
    """The data set has no such split."""


@dataclass(frozen=True)
class Images:
    """A data set, or one split of it."""

    pixels: Tensor  # uint8 (N,C,H,W)
    labels: Tensor | None  # int64 (N,)
    classes: tuple[str, ...] = ()  # the labels' names

    def __len__(self) -> int:
        return len(self.pixels)


def read_idx_folder(folder: Path, split: Split) -> Images:
    """Read MNIST's own files, compressed or not: train-images-idx3-ubyte[.gz], or t10k-… for the
    test split, and labels likewise. Raises DataError."""
    prefix = "train" if split == "train" else "t10k"
    pixels = read_idx(_either(folder / f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_either(folder / f"{prefix}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or labels.ndim != 1 or len(labels) != len(pixels):
        raise DataError(f"{folder}: images {pixels.shape} and labels {labels.shape} do not match")
    return _images(pixels[:, None], labels)


def _either(path: Path) -> Path:
    compressed = path.with_name(path.name + ".gz")
    if not path.exists() and not compressed.exists():
        raise DataError(f"{path}[.gz]: no such file")
    return path if path.exists() else compressed


def read_idx(path: Path) -> Array:
    """Read one IDX file of bytes. Raises DataError where it is something else, or not whole."""
    # The header: 0, 0, 8 for bytes, the number of dimensions, then their sizes, big-endian.
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, dims = struct.unpack_from(">HBB", raw)
        shape = struct.unpack_from(f">{dims}I", raw, 4)
        if (zero, kind) != (0, 8):
            raise DataError(f"{path}: not an IDX file of bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path}: not a whole IDX file: {error}") from error


def read_npz(path: Path) -> Images:
    """Read an .npz with `images`, uint8 (N,H,W) or (N,H,W,C), and optionally `labels` or `label`
    (N,). Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz without pickles: {error}") from error
    pixels = arrays.get("images")
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise DataError(f"{path}: needs `images`, uint8, (N,H,W) or (N,H,W,C)")
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    labels = arrays.get("labels", arrays.get("label"))
    if labels is not None and labels.shape != (len(pixels),):
        raise DataError(f"{path}: labels {labels.shape}, but {len(pixels)} images")
    return _images(pixels, labels)


def _images(pixels: Array, labels: Array | None, classes: tuple[str, ...] = ()) -> Images:
    if len(pixels) == 0:
        raise DataError("data: no images")
    if labels is not None and not classes:
        classes = tuple(str(k) for k in range(int(labels.max()) + 1))
    return Images(
        torch.from_numpy(np.array(pixels, order="C")),
        None if labels is None else torch.from_numpy(labels.astype(np.int64)),
        classes,
    )


NamedFile = tuple[PurePosixPath, bytes]


def folder_files(folder: Path) -> Iterator[NamedFile]:
    """Read the image files below a folder, in order: yield their paths inside it, and bytes."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield PurePosixPath(path.relative_to(folder).as_posix()), path.read_bytes()


def zip_files(path: Path, split: Split) -> Iterator[NamedFile]:
    """Read the image files of a zip, or only of its folder `split` where it has one.

    Raises DataError for a file that is not a whole zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in sorted(archive.namelist())]
            images = [name for name in names if name.suffix.lower() in IMAGE_SUFFIXES]
            inside = [name for name in images if name.parts[0] == split]
            for name in inside or images:
                inner = name.relative_to(split) if inside else name
                yield inner, archive.read(str(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole zip: {error}") from error


def read_images(files: Iterator[NamedFile], strict: bool) -> Images:
    """Decode image files into a data set; if all are in sub-folders, these are the classes.

    A file that cannot be decoded raises DataError if `strict`; else it is reported and left out.
    """
    arrays: list[Array] = []
    folders: list[str] = []
    for name, raw in tqdm(files, desc="reading images", unit="image", leave=False):
        try:
            arrays.append(_decode(raw))
            folders.append(str(name.parent))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            if strict:
                raise DataError(f"{name}: not a readable image: {error}") from error
            log.warning("left out %s: not a readable image: %s", name, error)
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        found = ", ".join(sorted(map(str, shapes))) or "no images"
        raise DataError(f"images must all have one shape (C,H,W); found {found}")
    classes = tuple(sorted(set(folders)))
    labels = None
    if "." not in classes:
        labels = np.array([classes.index(folder) for folder in folders])
    return _images(np.stack(arrays), labels, classes if labels is not None else ())


def _decode(raw: bytes) -> Array:
    with Image.open(io.BytesIO(raw)) as image:
        pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
