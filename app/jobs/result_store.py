"""The files of jobs' samples: one for each sample, in a folder or wherever fsspec reaches.

A file is whole before the database knows of it, and only what the database knows of is read, so a
crash leaves nothing torn; a sample written twice is the same bytes.
"""

import contextlib
import errno
import io
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image

from app.generation.cost import PNG_BYTES
from app.generation.plan import Plan
from app.generation.png import png
from app.jobs.errors import StorageError, StorageFull, StorageUnavailable
from app.jobs.file_systems import file_system, has_buckets, renew
from diffusion import atomic, pixels

Array = np.ndarray
PROBE = ".writable"
"""What is written to see whether that is possible. The name is always the same, so that what a
process that was killed has left is removed at the next start."""
FLOAT = np.dtype("<f4")


class ResultStore:
    """The files in the folder or bucket at `url`, which is a path or what fsspec names it.

    Every method blocks, and raises StorageUnavailable or StorageFull.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = file_system(url)
        self._is_local = "file" in self._fs.protocol
        self._has_lost_access = False

    def open(self) -> None:
        """Make the folder, and check that it can be written. A bucket must be there."""
        with self._use():
            if not has_buckets(self._fs):
                self._fs.makedirs(self._root, exist_ok=True)
            self._probe()

    def write(self, job_id: str, index: int, content: bytes) -> None:
        """Write the file of the sample with this index, whole or not at all."""
        path = self._path(job_id, index)
        with self._use():
            if self._is_local:
                _write_durably(Path(path), content)
            else:  # object stores show an object when it is whole
                self._fs.pipe_file(path, content)

    def sync(self, job_id: str) -> None:
        """Make sure that the files written so far survive a power failure."""
        if self._is_local:
            with translated():
                # Each file's content is on disk since it was written; now its name is too.
                atomic.sync(Path(self._root) / job_id)

    def read(self, job_id: str, index: int) -> bytes | None:
        """The content of the file of the sample with this index; None if there is no such file
        although the store itself can be used."""
        with self._use():
            try:
                content: bytes = self._fs.cat_file(self._path(job_id, index))
            except FileNotFoundError:
                self._check()
                return None
        return content

    def sizes(self, job_id: str) -> dict[str, int]:
        """The sizes in bytes of a job's files, by name; empty if there are none although the store
        itself can be used."""
        with self._use():
            try:
                found = self._fs.ls(f"{self._root}/{job_id}", detail=True, refresh=True)
            except FileNotFoundError:
                self._check()
                return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found}

    def _check(self) -> None:
        """Raise an error unless the store is there: a disk may be gone with all its files."""
        if not self._is_local:
            self._probe()
        elif not os.path.isdir(self._root):
            raise FileNotFoundError(errno.ENOENT, "the folder of results is gone", self._root)

    def _probe(self) -> None:
        """Write a file, and remove it: permissions alone do not tell, a disk may be read-only."""
        probe = f"{self._root}/{PROBE}"
        self._fs.pipe_file(probe, b"")
        # Servers share the folder: another one may have removed it
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(probe)

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """Raises any error in the block as `translated` does. Where it may be one of credentials,
        the next call reads them again: they end, and others come."""
        if self._has_lost_access:
            renew(self._fs)
            self._has_lost_access = False
        try:
            with translated():
                yield
        except StorageUnavailable as error:
            cause = error.__cause__
            of_them = isinstance(cause, PermissionError) or "Credential" in type(cause).__name__
            self._has_lost_access = of_them
            raise

    def remove(self, job_id: str) -> None:
        """Remove all files of a job; it may have none."""
        folder = f"{self._root}/{job_id}"
        with self._use():
            if self._fs.exists(folder):
                self._fs.rm(folder, recursive=True)

    def is_empty(self) -> bool:
        """Whether no job has files."""
        with self._use():
            try:
                names = self._fs.ls(self._root, detail=False)
            except FileNotFoundError:  # object stores have no empty folders
                self._check()
                return True
        return all(name.rpartition("/")[2].startswith(".") for name in names)

    def free_bytes(self) -> int | None:
        """Bytes that the disk has left; None where that is not known."""
        if not self._is_local:
            return None
        with translated():
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def _path(self, job_id: str, index: int) -> str:
        return f"{self._root}/{job_id}/{file_name(index)}"


def file_name(index: int) -> str:
    """The name of a sample's file in its job's folder."""
    return f"{index:06d}"


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises any error of a file system in the block as StorageUnavailable or StorageFull."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"the result store has no room: {error}; free some") from error
        raise StorageUnavailable(f"the result store cannot be used: {error}") from error


def image_bytes(plan: Plan) -> int:
    """Bytes of one image as float32."""
    return math.prod(plan.image_shape) * FLOAT.itemsize


def bound_bytes(plan: Plan) -> int:
    """Bytes that a job's files take together, at most."""
    C, H, W = plan.image_shape
    as_png = H * (1 + W * C) + PNG_BYTES
    frames = 2 * len(plan.shown_times) * image_bytes(plan)
    return len(plan.submit.indices) * (frames or as_png)


def encode_image(x_0: Array) -> tuple[bytes, int, int]:
    """The file of a sample without frames: x_0, float32 (C,H,W), as PNG; the CRC-32 of the file and
    that of the pixels."""
    image = pixels.to_uint8(x_0)
    content = png(image)
    return content, zlib.crc32(content), zlib.crc32(np.ascontiguousarray(image).tobytes())


def decode_image(content: bytes) -> Array:
    """The image, uint8 (H,W,C), in what `encode_image` made."""
    with Image.open(io.BytesIO(content)) as opened:
        image = np.asarray(opened)
    return image if image.ndim == 3 else image[:, :, None]


def encode_trajectory(
    plan: Plan, frames: Mapping[int, tuple[bytes, bytes]]
) -> tuple[bytes, int, int]:
    """The file of a sample with frames: every x_t, then every x0_hat, in the order of the positions
    shown; the CRC-32 of each half.

    `frames` has (x_t, x0_hat) by position, as the engine sends them.
    """
    x_t = b"".join(frames[position][0] for position in plan.submit.shown)
    x_0_hat = b"".join(frames[position][1] for position in plan.submit.shown)
    return x_t + x_0_hat, zlib.crc32(x_t), zlib.crc32(x_0_hat)


def decode_trajectory(plan: Plan, content: bytes) -> tuple[Array, Array]:
    """x_t and x0_hat, float32 (frames,C,H,W), in what `encode_trajectory` made."""
    shape = 2, len(plan.shown_times), *plan.image_shape
    x_t, x_0_hat = np.frombuffer(content, FLOAT).reshape(shape)
    return x_t, x_0_hat


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same sample, if one has lost its lease without noticing.
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
