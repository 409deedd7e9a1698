"""Decoded images on disk, which are memory-mapped: a data set may be larger than the memory.

The next start finds them in the user's cache, under a hash of what they were made of.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from diffusion.data.images import DataError
from diffusion.data.names import printable
from diffusion.folders import cache_folder

log = logging.getLogger(__name__)

Array = np.ndarray
T = TypeVar("T")
UNFINISHED = "unfinished-"
UNFINISHED_SECONDS = 24 * 3600
"""After so long without a change an unfinished folder is one that a killed process left."""


def packed_folder(key: Mapping[str, Any]) -> Path:
    """Return where the images that `key`, in JSON types, stands for are kept, once they are."""
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "packed" / digest[:32]


def kept(target: Path, read: Callable[[Path], T]) -> T | None:
    """Return what `read` makes of a folder that was kept; None where there is none.

    A damaged one is removed, and a warning says so. What `read` raises tells that it is damaged.
    """
    try:
        return read(target) if target.is_dir() else None
    # What was damaged, or belongs to another user, makes NumPy and JSON raise whatever they like
    except Exception as error:
        reason = printable(f"{type(error).__name__}: {error}")
        log.warning(
            "the decoded images in %s cannot be used, and are made anew: %s", target, reason
        )
        shutil.rmtree(target, ignore_errors=True)
        return None


def pack(target: Path, needed: int, write: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Let `write` fill a folder, keep it as `target`, and return what `read` makes of it.

    Where the cache cannot be written to, the folder is a temporary one: what is memory-mapped from
    it stays for as long as it is used. Raises DataError where `needed` bytes have no room, and what
    `write` raises.
    """
    with _workspace(target.parent, needed) as folder:
        try:
            write(folder)
        except OSError as error:
            raise DataError(
                f"data: decoded images cannot be written to {folder}: {error}"
            ) from None
        try:
            folder.rename(target)
        except OSError:  # another process was first, or it is a temporary folder elsewhere
            found = kept(target, read)
            return read(folder) if found is None else found
        return read(target)


@contextmanager
def _workspace(parent: Path, needed: int) -> Iterator[Path]:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED))
    except OSError as error:
        log.warning("the decoded images are not kept for the next start: %s", error)
        folder = Path(tempfile.mkdtemp(prefix="ddpm-"))
    try:
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise DataError(
                f"data: the decoded images take {needed / 1e9:.1f} GB, and {folder.parent} has "
                f"{free / 1e9:.1f} GB left; set XDG_CACHE_HOME to a folder on a larger disk"
            )
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unfinished(parent: Path) -> None:
    for folder in parent.glob(UNFINISHED + "*"):
        if time.time() - folder.stat().st_mtime > UNFINISHED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


class Rows:
    """An .npy file of arrays of one shape, written one after the other."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._shape = path, shape
        self.count = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def append(self, array: Array) -> None:
        """Write one array, uint8, of the shape."""
        assert array.dtype == np.uint8 and array.shape == self._shape
        self._file.write(np.ascontiguousarray(array).data)
        self.count += 1

    def _write_header(self) -> None:
        # NumPy leaves room for the first dimension to grow, so that both headers have one length.
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
