"""Files of states: those of `ddpm encode` and of trajectories, and others of no use."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from diffusion.state_file import StateFileError, read_states

X_T = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)


def npz(**arrays: Any) -> io.BytesIO:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file


def npy(array: np.ndarray, after: bytes = b"") -> io.BytesIO:
    file = io.BytesIO()
    np.save(file, array)
    file.write(after)
    return file


def npz_of(member: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_t.npy", member)
    return file


def test_states_have_the_t_that_is_asked_for_or_the_files() -> None:
    read = read_states(npz(x_t=X_T, t=np.int64(40)), None)
    np.testing.assert_array_equal(read.x_t, X_T)
    assert read.t == 40
    assert read_states(npz(x_t=X_T, t=np.int64(40)), 20).t == 20
    assert read_states(npy(X_T), None).t is None


def test_a_comment_belongs_to_the_npz() -> None:
    file = npz(x_t=X_T)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"made by hand"
    np.testing.assert_array_equal(read_states(file, 1).x_t, X_T)


def test_one_state_alone_is_read_as_one_of_a_list() -> None:
    read = read_states(npy(X_T[0].astype(np.float64)), 1)
    assert read.x_t.dtype == np.float32
    np.testing.assert_array_equal(read.x_t, X_T[:1])


def test_of_a_trajectory_the_frame_at_t_is_taken() -> None:
    frames = np.stack([X_T, 2 * X_T, 3 * X_T], axis=1)
    file = npz(x_t=frames, t=np.array([50, 25, 0]))
    np.testing.assert_array_equal(read_states(file, 25).x_t, 2 * X_T)
    with pytest.raises(StateFileError, match="t must be one of its 3: 50, 25, 0"):
        read_states(file, 30)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (npz(images=X_T), "there is no array x_t in it"),
        (npy(X_T.ravel()), r"x_t is float32 of shape \(32,\)"),
        (npy(np.zeros((1, 1, 4, 4), np.int64)), "x_t is int64"),
        (npy(np.zeros((1, 1, 4, 4), np.dtype([("a", "f4")]))), "x_t is"),
        (io.BytesIO(b""), "no .npz or .npy"),
        (io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(100)), "no .npz or .npy"),
        (io.BytesIO(npz(x_t=X_T).getvalue()[:-60]), "no .npz or .npy"),
        (io.BytesIO(npy(X_T).getvalue()[:-1]), "no .npz or .npy"),
        (io.BytesIO(npy(X_T).getvalue().replace(b"{", b"(" * 60)), "no .npz or .npy"),
        (npy(np.full((1, 1, 4, 4), 3e38, np.float32)), "at most 10000 in size"),
        (npy(np.full((1, 1, 4, 4), np.nan, np.float32)), "at most 10000 in size"),
        (npy(np.full((1, 1, 4, 4), -np.inf)), "at most 10000 in size"),
        (npz(x_t=X_T, t=np.float64(500.5)), "its t is float64 of shape"),
        (npz(x_t=X_T, t=np.array(["x"])), "it must be one whole number"),
        (npz(x_t=X_T[:, None], t=np.array([[50]])), "without a t for each of its frames"),
        (npz(x_t=X_T[:, None]), "without a t for each of its frames"),
        (npz(x_t=X_T[:, None], t=np.array(["x"])), "they must be whole numbers"),
        (npy(X_T, b"\0"), "bytes after the end of its array"),
        (npy(X_T, npz(x_t=-X_T).getvalue()), "bytes after the end of its array"),
        (npz_of(npy(X_T, b"more").getvalue()), "bytes after the end of its array"),
        (io.BytesIO(npz(x_t=X_T).getvalue() + b"\0"), "bytes after the end of the .npz"),
        (io.BytesIO(npz(x_t=X_T).getvalue() + bytes(9999)), "bytes after the end of the .npz"),
        (io.BytesIO(npz(x_t=-X_T).getvalue() + npz(x_t=X_T).getvalue()), "bytes before the .npz"),
    ],
)
def test_other_files_are_refused_with_the_reason(file: io.BytesIO, reason: str) -> None:
    with pytest.raises(StateFileError, match=reason):
        read_states(file, None)


@pytest.mark.parametrize(
    "file",
    [
        npz(x_t=np.zeros((1, 5000, 1, 1, 1), np.float32), t=np.arange(5000)),
        npz(x_t=np.zeros((1, 1, 1, 1, 1), np.float32), t=np.array(["x" * 5000])),
        npy(np.zeros(1, np.dtype([(f"field {i}", "f4") for i in range(300)]))),
    ],
)
def test_a_reason_is_short_whatever_the_file_holds(file: io.BytesIO) -> None:
    with pytest.raises(StateFileError) as refused:
        read_states(file, None)
    assert len(str(refused.value)) < 200


def test_objects_are_not_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(StateFileError):
        read_states(file, None)


def test_no_more_is_read_than_is_allowed_whatever_it_is_packed_in() -> None:
    header = npy(np.zeros((1, 1, 1, 1), np.float32)).getvalue()
    with pytest.raises(StateFileError, match="more than the 64 bytes"):
        read_states(npz(x_t=np.zeros((1, 1, 100, 100), np.float32)), None, max_bytes=64)
    huge = header.replace(b"(1, 1, 1, 1)", b"(1, 1, 99999, 99999)")[: len(header)]
    with pytest.raises(StateFileError):
        read_states(io.BytesIO(huge), None, max_bytes=64)


def test_a_damaged_member_is_refused() -> None:
    file = npz(x_t=X_T)
    raw = bytearray(file.getvalue())
    middle = zipfile.ZipFile(file).infolist()[0].header_offset + 60
    raw[middle : middle + 20] = bytes(20)
    with pytest.raises(StateFileError):
        read_states(io.BytesIO(bytes(raw)), None)
