"""The job database of the soak: what disturbs it, and what is left in it."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

from tests import postgres

DOWN_SECONDS = 5.0
"""How long PostgreSQL is away, and how long another process holds SQLite's lock."""
SQLITE = "sqlite"
KEPT_TABLES = ("alembic_version",)
"""Tables with rows that do not belong to jobs."""


class Database(Protocol):
    """The database of a server's jobs."""

    url: str
    trouble: str | None  # what `disturb` does, in the past; None: nothing

    async def disturb(self, how: signal.Signals) -> None:
        """Make it unavailable for a while."""
        ...


class OwnPostgres:
    """A PostgreSQL that can be restarted."""

    trouble: str | None = "PostgreSQL restarted"

    def __init__(self, server: postgres.Postgres) -> None:
        self.url = server.new_database()
        self._server = server

    async def disturb(self, how: signal.Signals) -> None:
        """End it with that signal, and start it again after a while."""
        await asyncio.to_thread(self._server.stop, how)
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(self._server.start)


class Sqlite:
    """A file."""

    trouble: str | None = "SQLite locked by another process"

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    async def disturb(self, how: signal.Signals) -> None:  # noqa: ARG002 - no process to end
        """Hold the lock for writing for a while."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            with contextlib.suppress(sqlite3.OperationalError):  # the server itself is writing
                connection.execute("BEGIN IMMEDIATE")
                await asyncio.sleep(DOWN_SECONDS)
                connection.execute("ROLLBACK")


class Given:
    """A database that belongs to somebody: it is left alone."""

    trouble: str | None = None

    def __init__(self, url: str) -> None:
        self.url = url

    async def disturb(self, how: signal.Signals) -> None:
        """Do nothing."""


@contextlib.contextmanager
def database(url: str | None, folder: Path) -> Iterator[Database]:
    """The one at `url`. Without: a PostgreSQL of our own where it is installed, else SQLite. `url`
    may be just "sqlite": a file in the folder."""
    programs = postgres.find()
    if url == SQLITE or (url is None and programs is None):
        yield Sqlite(folder / "jobs.sqlite")
    elif url is not None:
        yield Given(url)
    else:
        assert programs is not None
        with postgres.Postgres(programs) as server:
            yield OwnPostgres(server)


def rows(url: str) -> dict[str, int]:
    """How many rows each table of jobs has; blocks."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed)
    try:
        with engine.connect() as connection:
            tables = sorted(set(inspect(connection).get_table_names()) - set(KEPT_TABLES))
            return {
                table: int(connection.scalar(text(f'SELECT count(*) FROM "{table}"')) or 0)
                for table in tables
            }
    finally:
        engine.dispose()
