"""The result store: files that are whole, wherever they are, and errors with a name."""

import errno
import zlib
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from app.jobs import result_store
from app.jobs.errors import StorageFull, StorageUnavailable
from app.jobs.result_store import ResultStore


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    """A folder, a file system that is none, and an object store."""
    url = str(tmp_path / "results")
    if request.param == "memory":
        url = f"memory://{uuid4().hex}"
    elif request.param == "s3":
        url = request.getfixturevalue("door").s3.new_bucket()
    made = ResultStore(url)
    made.open()
    return made


def test_what_is_written_is_read_and_written_again_and_removed(store: ResultStore) -> None:
    assert store.is_empty()
    store.write("job", 3, b"one")
    store.write("job", 3, b"two")
    assert not store.is_empty()
    store.write("other", 3, b"three")
    store.sync("job")
    assert (store.read("job", 3), store.read("other", 3)) == (b"two", b"three")
    store.remove("job")
    store.remove("job")
    assert (store.read("job", 3), store.sizes("job")) == (None, {})
    assert (store.read("other", 3), store.sizes("other")) == (b"three", {"000003": 5})


def test_a_folder_has_no_other_files_and_knows_its_disk(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path))
    store.write("job", 3, b"one")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["000003"]
    assert (store.free_bytes() or 0) > 0
    assert ResultStore("memory://x").free_bytes() is None


def test_what_a_killed_server_has_left_of_its_probe_is_gone_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    store = ResultStore(str(tmp_path))
    with monkeypatch.context() as killed:
        killed.setattr(type(store._fs), "rm_file", die)
        with pytest.raises(Killed):
            store.open()
    assert len(list(tmp_path.iterdir())) == 1
    store.open()
    assert list(tmp_path.iterdir()) == []


def test_servers_that_share_a_folder_may_open_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = ResultStore(str(tmp_path)), ResultStore(str(tmp_path))
    pipe_file = type(store._fs).pipe_file

    def then_another(fs: object, path: str, content: bytes) -> None:
        pipe_file(fs, path, content)
        monkeypatch.undo()
        other.open()

    monkeypatch.setattr(type(store._fs), "pipe_file", then_another)
    store.open()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_from_other_errors() -> None:
    for code, kind in ((errno.ENOSPC, StorageFull), (errno.EIO, StorageUnavailable)):
        with pytest.raises(kind, match="free some" if kind is StorageFull else "cannot be used"):
            with result_store.translated():
                raise OSError(code, "said so")


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="file"):
        ResultStore(str(tmp_path / "file" / "results")).open()


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_kept_exactly(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 5, channels), np.uint8)
    x_0 = np.moveaxis(image / 127.5 - 1.0, -1, -3)
    content, _, crc = result_store.encode_image(x_0.astype(np.float32))
    decoded = result_store.decode_image(content)
    np.testing.assert_array_equal(decoded, image)
    assert zlib.crc32(decoded.tobytes()) == crc
