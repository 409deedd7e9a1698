"""The databases themselves: which are taken, what they promise, and how their errors are told."""

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError

from app.jobs.database import make_engine, migrate, parse_url, translated
from app.jobs.errors import StorageFull, StorageUnavailable
from app.jobs.store import Store
from app.jobs.tables import Base
from tests.app.jobs.rows import LEASE, create, job


def test_migrations_make_the_tables_that_the_code_expects_and_run_again(database: str) -> None:
    url = parse_url(database)
    migrate(url)
    migrate(url)

    def difference(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    engine = create_engine(url)
    with engine.connect() as connection:
        assert difference(connection) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(database: str) -> None:
    url = parse_url(database)
    migrate(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StorageUnavailable, match="of another version of this service"):
        migrate(url)


@pytest.mark.anyio
async def test_sqlite_commits_are_on_disk(tmp_path: Path) -> None:
    engine = make_engine(make_url(f"sqlite:///{tmp_path}/jobs.sqlite"))
    async with engine.begin() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2, "FULL"
    await engine.dispose()


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="unable to open database file"):
        migrate(make_url(f"sqlite:///{tmp_path}/nowhere/jobs.sqlite"))


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    def grow(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count = 3"))
        connection.execute(text("CREATE TABLE large (content BLOB)"))
        connection.execute(text("INSERT INTO large VALUES (zeroblob(1000000))"))

    engine = create_engine(f"sqlite:///{tmp_path}/small.sqlite")
    with pytest.raises(StorageFull, match="has no room: .* is full; free some"):
        with translated(), engine.begin() as connection:
            grow(connection)
    engine.dispose()


def test_a_broken_constraint_is_left_to_the_caller() -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(IntegrityError), translated(), engine.begin() as connection:
        connection.execute(text("CREATE TABLE few (number INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO few VALUES (1), (1)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://host/name", "'mysql' is not sqlite or postgresql"),
        ("nonsense", "not a database URL"),
        ("sqlite://", "it names no file"),
    ],
)
def test_other_databases_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(url)


def test_postgresql_is_reached_by_its_asynchronous_driver() -> None:
    parsed = parse_url("postgresql://user@host/name")
    assert parsed == URL.create("postgresql+psycopg", "user", host="host", database="name")


@pytest.mark.anyio
async def test_a_call_of_sqlite_is_carried_through_although_its_caller_is_cancelled(
    sqlite: Store,
) -> None:
    """Half a transaction would keep everybody else from writing."""
    made = await create(sqlite, job())
    claim = asyncio.create_task(sqlite.leases.claim("me", "us", LEASE))
    await asyncio.sleep(0)
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    assert (await sqlite.get(made.id)).owner == "me"
