"""The databases that every test of jobs runs on, and a checkpoint small enough for many samples."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.jobs.postgres import Postgres, find
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = find()
    if programs is None:
        pytest.skip("no PostgreSQL found: `make test-postgres` installs one and runs this")
    with Postgres(programs) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional checkpoint of 8x8 pixels."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    return save_tiny(folder, num_classes=3, null_label=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
