"""Data sets that are arrays already: IDX files, and .npz."""

import gzip
import math
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.data.images import DataError, Split

Array = np.ndarray
MAX_IN_MEMORY = 1 << 30
"""Bytes of an array that is read into memory; a larger one is unpacked to disk and mapped."""


@dataclass(frozen=True)
class Arrays:
    """The images of one split, uint8 (N,C,H,W), and their labels (N,): numbers, or names."""

    pixels: Array
    labels: Array | None


# IDX


IDX_PREFIXES: dict[Split, str] = {"train": "train", "test": "t10k"}
"""What the names of MNIST's files begin with."""


def is_idx_folder(folder: Path) -> bool:
    """Does the folder hold MNIST's own files?"""
    return any(folder.glob("*idx3-ubyte*"))


def read_idx_folder(folder: Path) -> dict[Split, Arrays]:
    """Read the splits that a folder of MNIST's own files has. Raises DataError."""
    return {
        split: read_idx_split(folder, split)
        for split in IDX_PREFIXES
        if split == "train" or _either(_idx_path(folder, split, 3))
    }


def read_idx_split(folder: Path, split: Split) -> Arrays:
    """Read train-images-idx3-ubyte, or t10k-… for the test split, and the labels beside it, if
    there are any; with or without .gz. Raises DataError."""
    images, labels = (_idx_path(folder, split, dims) for dims in (3, 1))
    path = _either(images)
    if path is None:
        raise DataError(f"{images}[.gz]: no such file")
    pixels = read_idx(path)
    labels_path = _either(labels)
    read = None if labels_path is None else read_idx(labels_path)
    if pixels.ndim != 3 or (read is not None and read.shape != (len(pixels),)):
        shape = None if read is None else read.shape
        raise DataError(f"{folder}: images {pixels.shape} and labels {shape} do not match")
    return Arrays(pixels[:, None], read)


def _idx_path(folder: Path, split: Split, dims: int) -> Path:
    kind = "images" if dims == 3 else "labels"
    return folder / f"{IDX_PREFIXES[split]}-{kind}-idx{dims}-ubyte"


def _either(path: Path) -> Path | None:
    compressed = path.with_name(path.name + ".gz")
    return next((p for p in (path, compressed) if p.is_file()), None)


def read_idx(path: Path) -> Array:
    """Read one IDX file of bytes. Raises DataError where it is something else, or not whole."""
    # The header: 0, 0, 8 for bytes, the number of dimensions, then their sizes, big-endian.
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zero, kind, dims = struct.unpack(">HBB", file.read(4))
            if (zero, kind) != (0, 8):
                raise DataError(f"{path}: not an IDX file of bytes")
            shape = struct.unpack(f">{dims}I", file.read(4 * dims))
            size = math.prod(shape)
            if size > MAX_IN_MEMORY:
                raise DataError(f"{path}: {size} bytes; at most {MAX_IN_MEMORY} are read from IDX")
            # One byte more than there should be: a longer file is not read to its end
            raw = file.read(size + 1)
        return np.frombuffer(raw, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, OverflowError, struct.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a whole IDX file: {error}") from error


# .npz

KEYS: tuple[dict[Split, tuple[str, str]], ...] = (
    {"train": ("images", "labels")},
    {"train": ("images", "label")},
    {  # MedMNIST
        "train": ("train_images", "train_labels"),
        "val": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")},  # Keras
    {"train": ("arr_0", "arr_1")},  # the sample files of guided-diffusion
)
"""The keys of images and labels that are read: the first line whose keys of images are there."""


def read_npz(path: Path, labels_key: str | None = None) -> dict[Split, Arrays]:
    """Read an .npz of images, uint8: (N,H,W), (N,H,W,C) or, where it is unmistakable, (N,C,H,W).

    The labels are those of `KEYS`, or of the array named. Raises DataError, naming the keys found.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name.removesuffix(".npy") for name in archive.namelist()]
            chosen = _choose(path, found)
            if labels_key and labels_key not in found:
                raise DataError(f"[data] labels: {path} has no {labels_key!r}; it has {found}")
            return {
                split: _split(path, archive, images, labels_key or labels, found)
                for split, (images, labels) in chosen.items()
                if images in found
            }
    except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole .npz: {error}") from error


def _choose(path: Path, found: list[str]) -> Mapping[Split, tuple[str, str]]:
    complete = [line for line in KEYS if line["train"][0] in found]
    with_labels = [line for line in complete if line["train"][1] in found]
    if not complete:
        raise DataError(
            f"{path}: no images among its keys {', '.join(sorted(found)) or '(none)'}; they are "
            "read from `images`, `train_images`, `x_train` or `arr_0`"
        )
    return (with_labels or complete)[0]


def _split(
    path: Path, archive: zipfile.ZipFile, images: str, labels: str, found: list[str]
) -> Arrays:
    pixels = _channels_first(path, images, _member(path, archive, images))
    if labels not in found:
        return Arrays(pixels, None)
    array = _member(path, archive, labels)
    if array.ndim == 2 and array.shape[1] == 1:  # (N,1), as MedMNIST and Keras write labels
        array = array[:, 0]
    if array.shape != (len(pixels),):
        raise DataError(f"{path}: {labels} {array.shape}, but {len(pixels)} images")
    return Arrays(pixels, _check_labels(path, labels, array))


def _check_labels(path: Path, key: str, array: Array) -> Array:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise DataError(f"{path}: {key}: {array.dtype} is not allowed; labels are whole numbers")
    if array.dtype.kind not in "biuU":
        raise DataError(
            f"{path}: {key}: {array.dtype} is not allowed; labels are whole numbers or strings"
        )
    return array


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> Array:
    """Read an array; one that is too large for memory is unpacked to disk and mapped.

    Its header is read first, so that no memory is taken for what is refused.
    """
    name = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
    try:
        with archive.open(name) as member:
            shape, dtype = _header(member)
            size = math.prod(shape) * dtype.itemsize
            if dtype.hasobject:
                raise DataError(f"{path}: {key} holds Python objects (pickles), which are not read")
            if size <= MAX_IN_MEMORY:
                raw = member.read(size + 1)
                return np.frombuffer(raw, dtype).reshape(shape)
        return _mapped(path, archive, name, size)
    except (ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {key} is not a whole array: {error}") from error


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
    if fortran and len(shape) > 1:
        raise DataError("it is in Fortran's order; save it with np.ascontiguousarray")
    return shape, dtype


def _mapped(path: Path, archive: zipfile.ZipFile, name: str, size: int) -> Array:
    with tempfile.TemporaryDirectory(prefix="ddpm-") as folder:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DataError(
                f"{path}: {name} takes {size / 1e9:.1f} GB unpacked, and {folder} has "
                f"{free / 1e9:.1f} GB left"
            )
        mapped: Array = np.load(archive.extract(name, folder), mmap_mode="r", allow_pickle=False)
        return mapped


def _channels_first(path: Path, key: str, pixels: Array) -> Array:
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise DataError(
            f"{path}: {key}: {pixels.dtype} {pixels.shape} is not allowed; images are uint8, "
            "(N,H,W), (N,H,W,C) or (N,C,H,W)"
        )
    if 0 in pixels.shape:
        raise DataError(f"{path}: {key}: {pixels.shape} is not allowed; it holds no pixels")
    if pixels.ndim == 3:
        return pixels[:, None]
    last, second = pixels.shape[3] in (1, 3, 4), pixels.shape[1] in (1, 3)
    if last == second:
        raise DataError(
            f"{path}: {key}: {pixels.shape} is not allowed; it does not tell which axis holds the "
            "channels; save (N,H,W,C), with 1, 3 or 4 of them"
        )
    return pixels.transpose(0, 3, 1, 2) if last else pixels
