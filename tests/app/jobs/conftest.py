"""What tests of jobs share: an open database and result store, and a pool without engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.jobs.database import parse_url
from app.jobs.result_store import ResultStore
from app.jobs.store import Store
from tests.app.jobs.fakes import FakePool


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    """A folder for samples."""
    made = ResultStore(str(tmp_path / "results"))
    made.open()
    return made


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """A database with its tables, of each kind that there is."""
    opened = Store(parse_url(database))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    """An SQLite database with its tables."""
    opened = Store(make_url(f"sqlite:///{tmp_path}/jobs.sqlite"))
    await opened.open()
    yield opened
    await opened.close()
