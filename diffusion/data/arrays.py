"""Data sets that are arrays already: IDX files, and .npz."""

import gzip
import math
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


Stamp = tuple[int | str, ...]
"""What changes when a file does."""


@dataclass(frozen=True)
class ArraySet:
    """The splits of a data set that is arrays already."""

    splits: dict[Split, Arrays]
    stamp: Stamp
    classes: tuple[str, ...] | None = None  # the labels' names, where they are known
    warnings: tuple[str, ...] = ()


def file_stamp(path: Path) -> Stamp:
    """Return what tells a file from another one, and from itself after a change."""
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


# IDX


IDX_PREFIXES: dict[Split, str] = {"train": "train", "test": "t10k"}
"""What the names of MNIST's files begin with."""


def is_idx_folder(folder: Path) -> bool:
    """Does the folder hold MNIST's own files?"""
    return any(folder.glob("*idx3-ubyte*"))


def read_idx_folder(folder: Path) -> ArraySet:
    """Read the splits that a folder of MNIST's own files has. Raises DataError."""
    paths = [_idx_path(folder, split, dims) for split in IDX_PREFIXES for dims in (3, 1)]
    stamp = [part for path in map(_either, paths) if path for part in file_stamp(path)]
    splits = {
        split: read_idx_split(folder, split)
        for split in IDX_PREFIXES
        if split == "train" or _either(_idx_path(folder, split, 3))
    }
    return ArraySet(splits, tuple(stamp))


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
    if 0 in pixels.shape:
        raise DataError(f"{path}: {pixels.shape} is not allowed; it holds no pixels")
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
    except (OSError, EOFError, ValueError, OverflowError, struct.error, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a whole IDX file: {error}") from error


# .npz

KEYS: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (
        ("images", "labels"),
        ("images", "label"),
        ("train_images", "train_labels"),  # MedMNIST
        ("x_train", "y_train"),  # Keras
        ("arr_0", "arr_1"),  # the sample files of guided-diffusion
    ),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
"""The keys of each split's images and labels: the first pair that is there, else the first key of
images."""


def read_npz(path: Path, labels_key: str | None = None) -> ArraySet:
    """Read an .npz of images, uint8: (N,H,W), (N,H,W,C) or, where it is unmistakable, (N,C,H,W).

    The labels are those of `KEYS`, or of the array named: it is the training split's, and another
    split's has the same name but for `train`. Raises DataError, naming the keys found.
    """
    with _refusing(f"{path}: not a whole .npz"), zipfile.ZipFile(path) as archive:
        found = [name.removesuffix(".npy") for name in archive.namelist()]
        chosen = _choose(path, found)
        if labels_key:
            if labels_key not in found:
                raise DataError(
                    f"[data] labels: {labels_key!r} is not an array of {path}; it has "
                    f"{', '.join(sorted(found))}"
                )
            chosen = {s: (images, _of_split(labels_key, s)) for s, (images, _) in chosen.items()}
        splits = {
            split: _split(path, archive, images, labels if labels in found else "")
            for split, (images, labels) in chosen.items()
        }
    unread = sorted(set(found).difference(*chosen.values()))
    told = (f"not read: {', '.join(unread)} in the .npz",) if unread else ()
    return ArraySet(splits, file_stamp(path), warnings=told)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """A block whose errors are DataErrors: what a damaged file makes zipfile, the decompressors
    and NumPy raise has no class in common."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{what}: {reason}") from error


def _choose(path: Path, found: Sequence[str]) -> dict[Split, tuple[str, str]]:
    chosen: dict[Split, tuple[str, str]] = {}
    for split, pairs in KEYS.items():
        there = [pair for pair in pairs if pair[0] in found]
        with_labels = [pair for pair in there if pair[1] in found]
        if there:
            chosen[split] = (with_labels or there)[0]
    if "train" not in chosen:
        raise DataError(
            f"{path}: no images among its keys {', '.join(sorted(found)) or '(none)'}; they are "
            "read from `images`, `train_images`, `x_train` or `arr_0`"
        )
    return chosen


def _of_split(key: str, split: Split) -> str:
    """The name of a split's labels, by that of the training split's; "" where it says no split."""
    own = key.replace("train", split)
    return key if split == "train" else own if own != key else ""


def _split(path: Path, archive: zipfile.ZipFile, images: str, labels: str) -> Arrays:
    pixels = _channels_first(path, images, _member(path, archive, images))
    if not labels:
        return Arrays(pixels, None)
    array = _member(path, archive, labels)
    if array.ndim == 2 and array.shape[1] == 1:  # (N,1), as MedMNIST and Keras write labels
        array = array[:, 0]
    N = len(pixels)
    if array.shape != (N,):
        raise DataError(
            f"{path}: {labels}: {array.shape} is not allowed; the labels of {N} images are ({N},) "
            f"or ({N}, 1)"
        )
    with _refusing(f"{path}: {labels}: not text in UTF-8"):
        return Arrays(pixels, _check_labels(path, labels, array))


def _check_labels(path: Path, key: str, array: Array) -> Array:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "U":
        "".join(array.tolist()).encode()  # raises for what is no text
    elif array.dtype.kind == "f":
        wrong = array[~np.isfinite(array) | (array != np.trunc(array))]
        if len(wrong):
            raise DataError(f"{path}: {key}: {wrong[0]} is not allowed; labels are whole numbers")
    elif array.dtype.kind not in "biu":
        raise DataError(
            f"{path}: {key}: {array.dtype} is not allowed; labels are whole numbers or strings"
        )
    return array


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> Array:
    """Read an array; one that is too large for memory is unpacked to disk and mapped.

    Its header is read first, so that neither memory nor disk is taken for what is refused.
    """
    name = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
    info = archive.getinfo(name)
    with _refusing(f"{path}: {key}: not a whole array"), archive.open(info) as member:
        shape, fortran, dtype = _header(member)
        if dtype.hasobject:
            raise DataError(f"{path}: {key} holds Python objects (pickles), which are not read")
        size, there = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
        if min(shape, default=0) < 0 or size != there:
            raise DataError(
                f"{path}: {key}: not a whole array: {dtype} {shape} takes {size} bytes, but it has "
                f"{there}"
            )
        if size <= MAX_IN_MEMORY:
            flat = np.frombuffer(member.read(size), dtype)
        else:
            flat = _mapped(f"{path}: {key}", member, size, dtype)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    if np.lib.format.read_magic(member) == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)


def _mapped(what: str, member: Any, size: int, dtype: np.dtype) -> Array:
    """Map the rest of a member, unpacked to a file that has no name and goes with the array."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{what} takes {size:,} bytes unpacked, and {folder} has {free:,} left; set TMPDIR to "
            "a folder on a larger disk"
        )
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(member, file)
        file.flush()
        return np.memmap(file, dtype, "r")


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
