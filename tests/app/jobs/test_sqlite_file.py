"""The file of an SQLite database: one server's alone, and whole."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.jobs import sqlite_file
from app.jobs.database import migrate, parse_url
from app.jobs.errors import StorageDamaged, StorageUnavailable
from app.jobs.result_store import ResultStore

PAGE = 4096


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with its tables, in which there is nothing."""
    made = tmp_path / "jobs.sqlite"
    migrate(parse_url(f"sqlite:///{made}"))
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made


def damage(database: Path, results: ResultStore) -> str:
    with pytest.raises(StorageDamaged) as refused:
        sqlite_file.check(database, results)
    return str(refused.value)


def test_a_whole_file_is_taken_and_so_is_none(
    database: Path, tmp_path: Path, results: ResultStore
) -> None:
    sqlite_file.check(database, results)
    sqlite_file.check(tmp_path / "new.sqlite", results)
    assert not (tmp_path / "new.sqlite").exists()


@pytest.mark.parametrize("pages", [1, 5])
def test_a_truncated_file_is_refused_and_the_message_says_what_to_do(
    database: Path, results: ResultStore, pages: int
) -> None:
    content = database.read_bytes()
    assert len(content) > 5 * PAGE
    database.write_bytes(content[: pages * PAGE])
    message = damage(database, results)
    assert message.startswith(f"{database} is damaged: ")
    assert "Move it away, with jobs.sqlite-wal and jobs.sqlite-shm, or put a copy back" in message
    assert f"results of its jobs are still in {results.url}" in message


def test_a_file_of_something_else_is_refused(database: Path, results: ResultStore) -> None:
    database.write_bytes(b"garbage" * PAGE)
    assert "file is not a database" in damage(database, results)


def test_pages_of_garbage_are_found(database: Path, results: ResultStore) -> None:
    content = bytearray(database.read_bytes())
    content[2 * PAGE : 5 * PAGE] = b"\xff" * (3 * PAGE)
    database.write_bytes(content)
    assert f"{database} is damaged: " in damage(database, results)


def test_an_empty_file_is_a_new_one_only_without_results(
    tmp_path: Path, results: ResultStore
) -> None:
    database = tmp_path / "jobs.sqlite"
    database.touch()
    sqlite_file.check(database, results)
    results.write("a-job", 0, b"its image")
    assert "it is empty, although there are results of jobs" in damage(database, results)
    assert results.read("a-job", 0) == b"its image"


def test_a_file_that_cannot_be_opened_is_not_called_damaged(
    tmp_path: Path, results: ResultStore
) -> None:
    (tmp_path / "jobs.sqlite").mkdir()
    with pytest.raises(StorageUnavailable, match="jobs.sqlite cannot be read: ") as refused:
        sqlite_file.check(tmp_path / "jobs.sqlite", results)
    assert not isinstance(refused.value, StorageDamaged)


def test_a_second_server_is_refused_whichever_link_leads_to_the_file(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.sqlite"
    link.symlink_to(database)
    with sqlite_file.locked(database):
        for path in (database, link):
            with pytest.raises(StorageUnavailable, match="another server uses"):
                with sqlite_file.locked(path):
                    pass
    with sqlite_file.locked(link):
        pass
