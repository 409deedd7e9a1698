"""States x_t in a file: an .npy of x_t, or an .npz with `x_t` and `t`, as `ddpm encode` and
trajectories have them.

NumPy only (torch is not imported), and no more is read than the arrays' headers say, if that is
allowed: a server reads files of anybody.
"""

import io
import math
import zipfile
from typing import IO, NamedTuple

import numpy as np

Array = np.ndarray
LARGEST = 1e4
"""No number of a state is larger: x_t of a standard Gaussian is below 10, and numbers near the end
of float32 would not be numbers after a step."""
SHOWN = 20
"""Frames of a trajectory whose t a message names, at most."""
MAX_BYTES = 1 << 34
"""Bytes of an array, at most, unless somebody allows fewer."""
ZIP = b"PK"
"""How an .npz begins. Neither it nor an .npy may have anything behind its end, which other readers
would read."""
END, END_BYTES, COMMENT_BYTES = b"PK\5\6", 22, 1 << 16
"""How the end record of an .npz begins, its bytes without a comment, and what a comment is shorter
than."""


class StateFileError(ValueError):
    """A file has no states to begin at; the message is the reason, without the file's name."""


class TooManyBytes(StateFileError):
    """A file has a larger array than may be read."""


class States(NamedTuple):
    """States, float32 (n,C,H,W), and the paper's t at which they are, if it is known."""

    x_t: Array
    t: int | None


def read_states(file: IO[bytes], t: int | None, max_bytes: int = MAX_BYTES) -> States:
    """Read the states that a file holds; of trajectories (n,frames,C,H,W) the frames at t.

    `t` is the one that is asked for; without one it is the file's. Raises StateFileError.
    """
    x_t, times = _arrays(file, max_bytes)
    if x_t is None:
        raise StateFileError("there is no array x_t in it")
    if x_t.dtype.kind != "f" or x_t.ndim not in (3, 4, 5):
        raise StateFileError(f"x_t is {_described(x_t)}; it must be float32 (n,C,H,W)")
    if x_t.ndim == 5:
        x_t = _frame(x_t, times, t)
    elif t is None and times is not None:
        t = _time(times)
    # NaN is no smaller than anything
    if not np.abs(x_t).max(initial=0.0) <= LARGEST:
        raise StateFileError(f"all of x_t must be numbers of at most {LARGEST:g} in size")
    whole = x_t.astype(np.float32)
    return States(whole if whole.ndim == 4 else whole[None], t)


def _time(times: Array) -> int:
    if times.ndim or times.dtype.kind not in "iu":
        raise StateFileError(f"its t is {_described(times)}; it must be one whole number")
    return int(times)


def _frame(x_t: Array, times: Array | None, t: int | None) -> Array:
    """The frames at t of trajectories (n,frames,C,H,W), whose t are `times`."""
    if times is None or times.shape != x_t.shape[1:2]:
        raise StateFileError("it holds a trajectory without a t for each of its frames")
    if times.dtype.kind not in "iu":
        raise StateFileError(f"its t are {_described(times)}; they must be whole numbers")
    known = times.tolist()
    if t not in known:
        some = ", ".join(map(str, known[:SHOWN])) + (", ..." if len(known) > SHOWN else "")
        raise StateFileError(f"it holds a trajectory; t must be one of its {len(known)}: {some}")
    return np.asarray(x_t[:, known.index(t)])


def _described(array: Array) -> str:
    """What an array is, in a few words, whatever its header says."""
    return f"{array.dtype.name} of shape {array.shape}"


def _arrays(file: IO[bytes], max_bytes: int) -> tuple[Array | None, Array | None]:
    """x_t and t of an .npz, where it has them; the array of an .npy as x_t."""
    try:
        file.seek(0)
        is_archive = file.read(len(ZIP)) == ZIP
        file.seek(0)
        if not is_archive:
            return _array(file, max_bytes), None
        with zipfile.ZipFile(file) as archive:
            _check_whole(file, archive)
            names = archive.namelist()
            x_t, t = (
                _member(archive, f"{name}.npy", max_bytes) if f"{name}.npy" in names else None
                for name in ("x_t", "t")
            )
        return x_t, t
    except (StateFileError, MemoryError):
        raise
    # What is damaged makes zipfile, zlib, NumPy and Python's tokenizer raise errors of many kinds
    except Exception as error:
        raise StateFileError("it is no .npz or .npy of numbers") from error


def _check_whole(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Raise StateFileError for an .npz with bytes before its first member, as another archive has
    to which this one was appended, or behind its end record and the comment there."""
    if min((info.header_offset for info in archive.infolist()), default=0):
        raise StateFileError("there are bytes before the .npz; it must have no others")
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END_BYTES - COMMENT_BYTES))
    tail = file.read()
    record = tail[tail.rindex(END) :]
    comment_bytes = int.from_bytes(record[END_BYTES - 2 : END_BYTES], "little")
    if len(record) != END_BYTES + comment_bytes:
        raise StateFileError("there are bytes after the end of the .npz; it must have no others")


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> Array:
    with archive.open(name) as file:
        return _array(file, max_bytes)


def _array(file: IO[bytes], max_bytes: int) -> Array:
    """The array of an .npy, once its header says that it may be read; nothing may follow it."""
    start = file.tell()
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if math.prod(shape) * dtype.itemsize > max_bytes:
        raise TooManyBytes(f"it has more than the {max_bytes} bytes that are allowed")
    file.seek(start)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise StateFileError("there are bytes after the end of its array; it must have no others")
    return array
