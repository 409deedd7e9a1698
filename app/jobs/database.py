"""SQLite and PostgreSQL for jobs: transactions, drivers, durability, migrations, errors."""

import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry

from app.jobs.errors import StorageFull, StorageUnavailable
from app.jobs.tables import now
from app.settings import check_database_url
from app.tasks import finish

BUSY_SECONDS = 30.0
"""How long SQLite waits for another transaction."""
MIGRATION_LOCK = 0x6464706D
"""PostgreSQL's advisory lock that is held while tables are made or changed."""
MIGRATIONS = Path(__file__).parent / "migrations"
DISK_FULL = "53100"
"""PostgreSQL's code of a full disk; SQLite says it in words."""


P = ParamSpec("P")
S = TypeVar("S", bound="HasDatabase")
T = TypeVar("T")
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


class Database:
    """An open job database: SQLite for one process, PostgreSQL for several.

    The sessions that it gives raise the database's errors as `translated` says.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self._engine = make_engine(url)
        self._writes = async_sessionmaker(self._engine, expire_on_commit=False)
        reading = self._engine.execution_options(only_reads=True)
        self._reads = async_sessionmaker(reading, expire_on_commit=False)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are on disk after the block, or none of them is."""
        with translated():
            async with self._writes.begin() as session:
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for questions. It does not wait for those who write."""
        with translated():
            async with self._reads() as session:
                yield session

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


class HasDatabase(Protocol):
    """A class whose methods may be transactions."""

    database: Database


def transaction(method: Method[S, P, T]) -> Method[S, P, T]:
    """A method that runs to its end on SQLite, even when its caller is cancelled.

    A call of SQLite that is cancelled half-way goes on in its thread. It could leave a connection
    behind that holds the write lock, and nobody would ever close it. A call of PostgreSQL ends at
    once, also when the server does not answer.
    """

    @functools.wraps(method)
    async def whole(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = method(self, *args, **kwargs)
        return await (finish(call) if is_sqlite(self.database.url) else call)

    return whole


async def time_in(session: AsyncSession) -> float:
    """The time on the database's clock, in Unix seconds."""
    return (await session.scalars(select(now()))).one()


def parse_url(text: str) -> URL:
    """The URL of a job database: `sqlite:///FILE` or `postgresql://…`. Raises ValueError for any
    other, and without the driver."""
    check_database_url(text)
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError(f"not a database URL: {error}") from None
    if is_sqlite(url):
        return url
    try:
        import psycopg  # noqa: F401 - an extra, which may be there without its library
    except ImportError as error:
        raise ValueError(f"PostgreSQL cannot be used: {error}") from None
    return url.set(drivername="postgresql+psycopg")


def database_url(jobs_url: str, folder: Path) -> URL:
    """The database of jobs: `jobs_url`, or without one a file in `folder`. Raises as parse_url."""
    if jobs_url:
        return parse_url(jobs_url)
    return URL.create("sqlite", database=str(folder / "jobs.sqlite"))


def is_sqlite(url: URL) -> bool:
    """Whether the database is an SQLite file, which one process at a time may use."""
    return url.get_backend_name() == "sqlite"


def make_engine(url: URL) -> AsyncEngine:
    """Connections whose commits survive a power failure. Transactions with the execution option
    `only_reads` do not take SQLite's write lock."""
    if not is_sqlite(url):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"))
    _make_durable(engine.sync_engine)
    return engine


def migrate(url: URL) -> None:
    """Make the tables or bring them up to date; blocks.

    Raises StorageUnavailable, also for a database of a newer version of this service; StorageFull.
    """
    engine = create_engine(url)
    if is_sqlite(url):
        _make_durable(engine)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with translated(), engine.begin() as connection:
            if not is_sqlite(url):
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StorageUnavailable(
            f"the job database is of another version of this service: {error}"
        ) from error
    finally:
        engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Raises the database's errors in the block as StorageUnavailable or StorageFull, but
    IntegrityError as it is."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        reason = str(error.orig).strip()
        if getattr(error.orig, "sqlstate", None) == DISK_FULL or "disk is full" in reason:
            raise StorageFull(f"the job database has no room: {reason}; free some") from error
        raise StorageUnavailable(f"the job database cannot be used: {reason}") from error


def _make_durable(engine: Engine) -> None:
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that first reads and then writes could fail half-way, were it not IMMEDIATE.
    only_reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
