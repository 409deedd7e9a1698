"""Files kept for the next start: found whole or not at all, bounded, and never needed."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from diffusion import file_cache
from diffusion.file_cache import FileCache
from tests.full_disk import no_room_for_more_than

CONTENT = bytes(range(256)) * 4096


def read(cache: FileCache) -> bytes | None:
    content = cache.read("a")
    return None if content is None else bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "things"


def test_what_is_written_is_read(folder: Path) -> None:
    FileCache(folder).write("a", CONTENT)
    assert read(FileCache(folder)) == CONTENT
    assert FileCache(folder).read("b") is None
    assert [path.name for path in folder.iterdir()] == ["a"], "nothing is left beside it"


def test_it_is_in_the_folder_that_is_named_else_in_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/chosen")
    assert FileCache.at(None, "things").folder == Path("/chosen/ddpm/things")
    assert FileCache.at(str(tmp_path), "things").folder == tmp_path / "things"


def test_with_an_empty_name_nothing_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    cache = FileCache.at("", "things")
    cache.write("a", CONTENT)
    assert cache.read("a") is None and not caplog.records


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda _content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"x" + content[1:],
    ],
    ids=["truncated", "no digest", "empty", "one bit", "another digest"],
)
def test_a_damaged_file_is_not_read(
    damage: Callable[[bytes], bytes], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FileCache(folder)
    cache.write("a", CONTENT)
    (folder / "a").write_bytes(damage((folder / "a").read_bytes()))
    assert cache.read("a") is None
    assert [f"{folder / 'a'} is damaged" in record.message for record in caplog.records] == [True]
    cache.write("a", CONTENT)
    assert read(cache) == CONTENT


def test_a_file_under_the_name_of_another_is_not_read(folder: Path) -> None:
    cache = FileCache(folder)
    cache.write("another", CONTENT)
    (folder / "another").rename(folder / "a")
    assert cache.read("a") is None


def test_a_file_larger_than_the_cache_may_be_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(folder)
    cache.write("a", CONTENT)
    monkeypatch.setattr(file_cache, "MAX_BYTES", len(CONTENT))
    assert cache.read("a") is None


def is_a_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")


def is_on_no_disk(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.symlink_to("/proc/nowhere")  # not even root can make it


@pytest.mark.parametrize("trouble", [is_a_file, is_on_no_disk])
def test_a_folder_that_cannot_be_written_to_is_warned_of_once(
    trouble: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble(folder)
    cache = FileCache(folder)
    for name in ("a", "b"):
        assert cache.read(name) is None
        cache.write(name, CONTENT)
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert "is not kept" in line.message and "--cache" in line.message


def test_a_user_without_a_home_is_warned_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown() -> Path:  # of a user in no list of users, without $HOME
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    cache = FileCache.at(None, "things")
    cache.write("a", CONTENT)
    assert cache.read("a") is None
    (line,) = caplog.records
    assert "Could not determine home directory" in line.message


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room_for_more_than(len(CONTENT) // 2):
        FileCache(folder).write("a", CONTENT)
    assert list(folder.iterdir()) == []
    assert ["is not kept" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_BYTES"])
def test_the_files_used_last_are_kept(
    limit: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(folder)
    for age, name in enumerate("abc"):
        cache.write(name, CONTENT)
        os.utime(folder / name, (age, age))
    assert cache.read("a") is not None  # the oldest is used again
    size = (folder / "a").stat().st_size
    bound = {"MAX_FILES": 3, "MAX_BYTES": 3 * size + size // 2}[limit]
    monkeypatch.setattr(file_cache, limit, bound)
    cache.write("d", CONTENT)
    assert {path.name for path in folder.iterdir()} == {"a", "c", "d"}


def test_what_a_killed_process_has_left_is_removed_after_an_hour(folder: Path) -> None:
    folder.mkdir(parents=True)
    old, new = folder / ".partial-old", folder / ".partial-new"
    old_folder = folder / ".partial-folder"
    for path in (old, new, old_folder / "graph.xml"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half of")
    an_hour_ago = time.time() - file_cache.PARTIAL_SECONDS - 1
    for path in (old, old_folder):
        os.utime(path, (an_hour_ago, an_hour_ago))
    FileCache(folder).write("a", CONTENT)
    assert {path.name for path in folder.iterdir()} == {"a", new.name}


def write_and_read(folder: Path, seed: int) -> bool:
    """Is a file that others write too always whole? Logs an error where it is damaged."""
    cache = FileCache(folder)
    for _ in range(20):
        cache.write("a", CONTENT)
        cache.write(f"own {seed}", CONTENT)
        if read(cache) != CONTENT:
            return False
    return True


def test_several_processes_write_the_same_files_at_once(folder: Path) -> None:
    with ProcessPoolExecutor(3) as processes:
        assert all(processes.map(write_and_read, [folder] * 3, range(3)))
    assert {path.name for path in folder.iterdir()} == {"a", "own 0", "own 1", "own 2"}
