"""The soak's database: disturbed, and counted."""

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.jobs.database import migrate, parse_url
from benchmarks.soak import database
from benchmarks.soak.database import OwnPostgres, rows
from benchmarks.soak.database import database as opened
from tests.postgres import Postgres, find

pytestmark = pytest.mark.anyio
TABLES = {"jobs": 0, "job_samples": 0, "idempotency_keys": 0}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One of this module's own: it is restarted."""
    programs = find()
    if programs is None:
        pytest.skip("no PostgreSQL found: `make postgres` installs one")
    with Postgres(programs) as server:
        yield server


async def test_sqlite_is_locked_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "DOWN_SECONDS", 0.3)
    with opened("sqlite", tmp_path) as made:
        migrate(make_url(made.url))
        disturbing = asyncio.create_task(made.disturb(signal.SIGINT))
        await asyncio.sleep(0.1)
        other = sqlite3.connect(tmp_path / "jobs.sqlite", timeout=0.0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        await disturbing
        other.execute("BEGIN IMMEDIATE")
        other.close()
        assert rows(made.url) == TABLES


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_postgresql_comes_back_with_what_it_had(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(database, "DOWN_SECONDS", 0.0)
    made = OwnPostgres(postgres)
    migrate(parse_url(made.url))
    await made.disturb(how)
    assert rows(made.url) == TABLES


async def test_a_given_database_is_left_alone(tmp_path: Path) -> None:
    with opened("postgresql://somebody@/jobs", tmp_path) as made:
        assert (made.url, made.trouble) == ("postgresql://somebody@/jobs", None)
