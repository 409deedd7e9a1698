"""What tests of the service share: a server on the shipped checkpoint, for those that only talk to
it; a checkpoint small enough for many samples; and the databases that jobs are tested on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.server import Server
from tests.postgres import Postgres, find
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with Server(log, "--max-samples=64", "--max-frames=100", "--max-queue-samples=256") as running:
        yield running
        assert running.stop() == 0, log.read_text()


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
