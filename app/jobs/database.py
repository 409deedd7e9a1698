"""SQLite and PostgreSQL for jobs: transactions, drivers, durability, migrations, errors."""

import asyncio
import functools
import math
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, TimeoutError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry

from app.jobs.errors import StorageDamaged, StorageFull, StorageUnavailable
from app.jobs.tables import now
from app.settings import check_database_url
from app.tasks import finish

BUSY_SECONDS = 5.0
"""How long a transaction waits for another one of another process or server: a request is refused
after twice that at most, the other half being its wait for a connection."""
STATEMENT_SECONDS = 30.0
"""How long PostgreSQL works on one statement."""
IDLE_SECONDS = 5.0
"""How long PostgreSQL lets a transaction be in which nothing is asked: a process that stops in the
middle of one, or whose machine is gone, would keep a job's row locked, and nobody could take the
job over."""
CONNECTIONS = 5
"""Connections of those who only read, who wait for none that writes; and as many of PostgreSQL's
writers."""
MIGRATION_LOCK = 0x6464706D
"""PostgreSQL's advisory lock that is held while tables are made or changed."""
WRITE = "BEGIN IMMEDIATE"
"""A transaction that first reads and then writes could fail half-way, were it not IMMEDIATE."""
MIGRATIONS = Path(__file__).parent / "migrations"
DISK_FULL = "53100"
"""PostgreSQL's code of a full disk."""
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's codes for a file that is damaged."""


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
        self._calls: set[asyncio.Task[Any] | None] = set()  # transactions that run to their end
        self._is_closed = False
        self._engines = make_engine(url), make_engine(url, only_reads=True)
        self._writes, self._reads = (
            async_sessionmaker(engine, expire_on_commit=False) for engine in self._engines
        )

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are on disk after the block, or none of them is."""
        self._check_open()
        with translated():
            async with self._writes.begin() as session:
                yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for questions. It does not wait for those who write."""
        self._check_open()
        with translated():
            async with self._reads() as session:
                yield session

    async def carry_through(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a transaction that runs to its end, even when this is cancelled."""

        async def noted() -> T:
            task = asyncio.current_task()
            self._calls.add(task)
            try:
                return await call
            finally:
                self._calls.discard(task)

        return await finish(noted())

    def _check_open(self) -> None:
        # An engine that is closed opens new connections, which nobody would close.
        if self._is_closed:
            raise StorageUnavailable("the job database has been closed")

    async def close(self) -> None:
        """Close every connection, after the transactions that run to their end; to the end, even
        when this is cancelled: what is left open then, nobody closes."""
        self._is_closed = True
        await finish(self._close())

    async def _close(self) -> None:
        if running := {task for task in self._calls if task is not None}:
            await asyncio.wait(running, timeout=2 * BUSY_SECONDS)
        for engine in self._engines:
            await engine.dispose()


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
        return await (self.database.carry_through(call) if is_sqlite(self.database.url) else call)

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


def make_engine(url: URL, *, only_reads: bool = False) -> AsyncEngine:
    """Connections whose commits survive a power failure. Those that only read do not take SQLite's
    write lock."""
    options: dict[str, Any] = {
        "pool_timeout": BUSY_SECONDS, "pool_size": CONNECTIONS, "max_overflow": 0,
    }  # fmt: skip
    if not is_sqlite(url):
        arguments = {"connect_timeout": math.ceil(BUSY_SECONDS)}
        engine = create_async_engine(url, pool_pre_ping=True, connect_args=arguments, **options)
        _begin_with(engine.sync_engine, _limits())
        return engine
    if not only_reads:
        options["pool_size"] = 1  # SQLite has one writer; others wait in order, and for no thread
    engine = create_async_engine(url.set(drivername="sqlite+aiosqlite"), **options)
    _make_durable(engine.sync_engine, "BEGIN" if only_reads else WRITE)
    return engine


def _limits() -> str:
    """The statement that limits how long a transaction of PostgreSQL waits and is waited for."""
    limits = {
        "lock_timeout": BUSY_SECONDS,
        "statement_timeout": STATEMENT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    # For the transaction alone: behind PgBouncer a session may be another client's next.
    return "SELECT " + ", ".join(
        f"set_config('{name}', '{1000 * seconds:.0f}', true)" for name, seconds in limits.items()
    )


def migrate(url: URL, revision: str = "head") -> None:
    """Make the tables or bring them up to date, or to an earlier revision's state; blocks.

    Raises StorageUnavailable, also for a database of a newer version of this service; StorageFull.
    """
    # Loaded here, beside the engine's start, and not before it
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    engine = create_engine(url)
    if is_sqlite(url):
        _make_durable(engine, WRITE)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with translated(), engine.begin() as connection:
            if not is_sqlite(url):
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
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
    except TimeoutError as error:  # SQLAlchemy's
        raise StorageUnavailable(
            f"the job database is busy: no connection was free for {BUSY_SECONDS:g} seconds"
        ) from error
    except DBAPIError as error:
        reason = str(error.orig).strip()
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # without SQLite's details
        if code in DAMAGES:
            raise StorageDamaged(f"the job database is damaged: {reason}") from error
        if getattr(error.orig, "sqlstate", None) == DISK_FULL or code == sqlite3.SQLITE_FULL:
            raise StorageFull(f"the job database has no room: {reason}; free some") from error
        raise StorageUnavailable(f"the job database cannot be used: {reason}") from error


def _make_durable(engine: Engine, begin: str) -> None:
    event.listen(engine, "connect", _prepare_sqlite)
    _begin_with(engine, begin)


def _begin_with(engine: Engine, statement: str) -> None:
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin_transaction)


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_make_durable` says
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
