"""The file of an SQLite job database: used by one server at a time, and undamaged."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from app.jobs.errors import StorageDamaged, StorageUnavailable
from app.jobs.result_store import ResultStore


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock file beside the database. Raises StorageUnavailable if another server does."""
    try:
        whole = database.resolve()  # one lock, whichever link leads to the file
        whole.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{whole}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise StorageUnavailable(
            f"another server uses {database}: give this one another folder (DDPM_JOBS_FOLDER), or "
            "both a PostgreSQL database (DDPM_JOBS_URL)"
        ) from None
    except OSError as error:
        raise StorageUnavailable(f"{database.parent} cannot be used: {error}") from error
    try:
        yield
    finally:
        lock.release()


def check(database: Path, results: ResultStore) -> None:
    """Read the whole file; blocks. Raises StorageDamaged if it is damaged, or empty although there
    are results of jobs; StorageUnavailable if it cannot be read."""
    try:
        if not database.exists():
            return
        damage = _damage(database)
        if database.stat().st_size == 0 and not results.is_empty():
            damage = "it is empty, although there are results of jobs"
    except (OSError, sqlite3.OperationalError) as error:
        raise StorageUnavailable(f"{database} cannot be read: {error}") from error
    if damage is not None:
        raise StorageDamaged(
            f"{database} is damaged: {damage}. Move it away, with {database.name}-wal and "
            f"{database.name}-shm, or put a copy back: then jobs are accepted again. The results "
            f"of its jobs are still in {results.url}, and nothing removes them"
        )


def _damage(database: Path) -> str | None:
    """What is wrong with the file, in SQLite's words; None if nothing is."""
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else found
