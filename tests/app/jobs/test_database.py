"""The databases themselves: which are taken, what they promise, and how their errors are told."""

import asyncio
import itertools
import sqlite3
from pathlib import Path
from typing import cast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import QueuePool

from app.jobs import database as database_module
from app.jobs.database import BUSY_SECONDS, Database, make_engine, migrate, parse_url, translated
from app.jobs.errors import StorageFull, StorageUnavailable
from app.jobs.store import Store
from app.jobs.tables import Base, Job
from tests.app.jobs.rows import LEASE, claimed, create, job
from tests.interruption import is_cancelled_at
from tests.postgres import Postgres


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


def test_an_upgrade_keeps_the_jobs_and_finds_the_hosts_of_their_webhooks(database: str) -> None:
    url = parse_url(database)
    migrate(url, "0001")
    urls = {"1": None, "2": "http://Name.example:80/a", "3": "http://a..b/", "4": "http://[::1/"}
    columns = (
        "id, client, kind, header, plan, made_by, status, total, done, next_number, stored_bytes, "
        "created_at, expires_at, resumed_done, run_seconds, turn_at, fence, purged, webhook_url, "
        "webhook_attempts"
    )
    row = "'', 'sample', '{}', '', 'us', 'failed', 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, false"
    insert = text(f"INSERT INTO jobs ({columns}) VALUES (:id, {row}, :url, 0)")
    engine = create_engine(url)
    with engine.begin() as connection:
        for job_id, webhook_url in urls.items():
            connection.execute(insert, {"id": job_id, "url": webhook_url})
    migrate(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT id, webhook_host FROM jobs ORDER BY id")).all()
    engine.dispose()
    assert [tuple(row) for row in found] == [
        ("1", None), ("2", "name.example"), ("3", "a..b"), ("4", ""),
    ]  # fmt: skip


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
    claim = asyncio.create_task(sqlite.leases.claim("me", ["us"], LEASE))
    await asyncio.sleep(0)
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    assert (await sqlite.get(made.id)).owner == "me"


def in_use(database: Database) -> int:
    """Connections that are in the middle of a transaction."""
    pools = [cast(QueuePool, engine.pool) for engine in database._engines]
    return sum(pool.checkedout() for pool in pools)


@pytest.mark.anyio
async def test_a_database_is_closed_after_its_transactions_and_used_no_more(
    sqlite: Store, tmp_path: Path
) -> None:
    made = await create(sqlite, job())
    claim = asyncio.create_task(sqlite.leases.claim("me", ["us"], LEASE))
    await asyncio.sleep(0)
    claim.cancel()
    await asyncio.sleep(0)
    await sqlite.close()
    assert in_use(sqlite.database) == 0
    with pytest.raises(asyncio.CancelledError):
        await claim
    for attempt in (sqlite.get(made.id), sqlite.delete(made.id)):
        with pytest.raises(StorageUnavailable, match="has been closed"):
            await attempt
    again = Store(make_url(f"sqlite:///{tmp_path}/jobs.sqlite"))
    assert (await again.get(made.id)).owner == "me"
    await again.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("is_carried_through", "times"), [(True, 1), (True, 3), (False, 1)])
async def test_wherever_a_transaction_is_cancelled_it_leaves_no_lock_and_no_connection(
    store: Store, is_carried_through: bool, times: int
) -> None:
    await create(store, job())

    async def change() -> None:
        """A transaction that nothing carries through to its end."""
        async with store.database.writing() as session:
            await session.execute(update(Job).values(detail="changed"))

    for place in itertools.count(1):
        work = store.leases.claim("me", ["us"], 0.0) if is_carried_through else change()
        if not await is_cancelled_at(work, place, times):
            break
        async with asyncio.timeout(BUSY_SECONDS - 1):  # less than it waits for a lock
            await store.leases.release(await claimed(store), None)
    assert place > 1
    assert in_use(store.database) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("times", [1, 3])
async def test_wherever_closing_is_cancelled_every_connection_is_closed(
    database: str, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    """A server that stops cancels what has not ended after half a second, again and again."""
    for place in itertools.count(1):
        store = Store(parse_url(database))
        await store.open()
        await create(store, job(), max_jobs=1000)
        await asyncio.gather(*(store.clock() for _ in range(3)))
        pools = [cast(QueuePool, engine.pool) for engine in store.database._engines]
        assert all(pool.checkedin() for pool in pools), "some connections are open"
        was_cancelled = await is_cancelled_at(store.close(), place, times)
        assert [pool.checkedin() for pool in pools] == [0, 0]
        if not was_cancelled:
            break
    assert place > 1
    assert not caplog.records, "nothing went wrong"


@pytest.mark.anyio
async def test_while_another_process_holds_sqlites_lock_writers_are_refused_and_readers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 1.0)
    url = make_url(f"sqlite:///{tmp_path}/jobs.sqlite")
    store = Store(url)
    await store.open()
    made = await create(store, job())
    other = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(10):
        writes = [store.delete(made.id) for _ in range(10)]
        reads = [store.get(made.id) for _ in range(10)]
        written, read = await asyncio.gather(
            asyncio.gather(*writes, return_exceptions=True), asyncio.gather(*reads)
        )
    assert {type(error) for error in written} == {StorageUnavailable}
    reasons = {str(error) for error in written}
    assert "the job database cannot be used: database is locked" in reasons
    assert "the job database is busy: no connection was free for 1 seconds" in reasons
    assert {found.status for found in read} == {"waiting"}
    other.execute("ROLLBACK")
    other.close()
    await store.delete(made.id)
    await store.close()


@pytest.mark.anyio
async def test_a_lock_in_postgresql_refuses_writers_in_bounded_time(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 1.0)
    store = Store(parse_url(postgres.new_database()))
    await store.open()
    made = await create(store, job())
    other = create_engine(store.database.url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
        assert (await store.get(made.id)).status == "waiting"
        with pytest.raises(StorageUnavailable, match="lock timeout"):
            await store.delete(made.id)
    other.dispose()
    await store.delete(made.id)
    await store.close()
