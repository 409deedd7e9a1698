"""The packed copy: written whole or not at all, in the cache or beside it."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from diffusion.data.images import DataError
from diffusion.data.packed import Rows, kept, pack, packed_folder


def write(folder: Path) -> None:
    (folder / "a").write_text("hello")


def read(folder: Path) -> str:
    return (folder / "a").read_text()


def test_a_folder_is_found_by_what_it_was_made_of(cache: Path) -> None:
    folder = packed_folder({"b": 1, "a": [2]})
    assert folder == packed_folder({"a": [2], "b": 1})
    assert folder != packed_folder({"a": [2], "b": 2})
    assert folder.parent == cache / "packed"


def test_what_was_written_is_read_and_kept() -> None:
    folder = packed_folder({})
    assert pack(folder, 5, write, read) == "hello"
    assert read(folder) == "hello"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device")

    folder = packed_folder({})
    with pytest.raises(DataError, match="cannot be written to .*No space left"):
        pack(folder, 5, fail, read)
    assert list(folder.parent.iterdir()) == []


def test_too_little_room_is_told_before_the_work() -> None:
    with pytest.raises(DataError, match=r"take 1000000000000.0 GB, .*set XDG_CACHE_HOME"):
        pack(packed_folder({}), 10**21, write, read)


def test_a_cache_that_cannot_be_written_to_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert pack(packed_folder({}), 5, write, read) == "hello"
    assert "not kept for the next start" in caplog.text


def test_who_comes_second_takes_what_the_first_wrote() -> None:
    folder = packed_folder({})

    def write_as_another_does_so_too(own: Path) -> None:
        write(own)
        folder.mkdir()
        (folder / "a").write_text("of the other")

    assert pack(folder, 5, write_as_another_does_so_too, read) == "of the other"


def test_what_was_kept_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    folder = packed_folder({})
    assert kept(folder, read) is None
    pack(folder, 5, write, read)
    assert kept(folder, read) == "hello"
    assert not caplog.text


@pytest.mark.parametrize("error", [ValueError("a\nb"), EOFError(), KeyError("labels"), OSError(5)])
def test_what_is_damaged_is_removed_with_a_warning(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Path) -> str:
        raise error

    folder = packed_folder({})
    pack(folder, 5, write, read)
    assert kept(folder, fail) is None
    assert not folder.exists()
    assert f"in {folder} cannot be used, and are made anew: {type(error).__name__}" in caplog.text


def test_what_another_wrote_and_damaged_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    folder = packed_folder({})

    def write_as_another_does_badly(own: Path) -> None:
        write(own)
        folder.mkdir()
        (folder / "b").write_text("of the other")

    assert pack(folder, 5, write_as_another_does_badly, read) == "hello"
    assert "made anew" in caplog.text


def test_a_cache_that_may_not_be_looked_into_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert kept(packed_folder({}), read) is None
    assert "Permission denied" in caplog.text


def test_what_a_killed_process_left_is_removed_a_day_later(cache: Path) -> None:
    old, new = cache / "packed" / "unfinished-1", cache / "packed" / "unfinished-2"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, time.time() - 100_000))
    pack(packed_folder({}), 5, write, read)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_rows_are_an_npy_file_of_as_many_as_were_written(count: int, tmp_path: Path) -> None:
    with Rows(tmp_path / "a.npy", (1, 2, 2)) as rows:
        for i in range(count):
            rows.append(np.full((1, 2, 2), i % 256, np.uint8))
    array = np.load(tmp_path / "a.npy")
    assert array.shape == (count, 1, 2, 2)
    np.testing.assert_array_equal(array[:, 0, 0, 0], np.arange(count) % 256)
