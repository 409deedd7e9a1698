"""What tests of the service share: servers on the shipped checkpoint, for those that only talk to
them; and the databases that jobs are tested on."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.asyn
import pytest

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.postgres import Postgres, find
from tests.s3 import S3, Door

LIMITS = ("--max-samples=64", "--max-frames=100", "--max-queue-samples=256")


@pytest.fixture(scope="session")
def server(server_for: ServerFor) -> Server:
    """The shipped checkpoint, for tests that look at no image: its engine is a fake one."""
    return server_for(*LIMITS)


@pytest.fixture(scope="session")
def real_server(server_for: ServerFor) -> Server:
    """The shipped checkpoint on a real engine."""
    return server_for(*LIMITS, "--threads=2", engine=REAL)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = find()
    if programs is None:
        pytest.skip("no PostgreSQL found: `make test-postgres` installs one and runs this")
    with Postgres(programs) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    pytest.importorskip("moto", reason="moto is not installed: `make test` installs it")
    with S3(tmp_path_factory.mktemp("s3") / "server.log") as server:
        yield server


@pytest.fixture
def door(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """A way to it, which this process takes, and what it starts."""
    with Door(s3) as opened:
        for name, value in opened.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("s3fs.core.sync", without_timeout)
        yield opened
        # The next test has another door. What is left is closed now, and not in a running loop.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        gc.collect()


def without_timeout(
    loop: Any,
    call: Callable[..., Any],
    *args: Any,
    timeout: float | None = None,  # noqa: ARG001 - s3fs passes it
) -> Any:
    """As s3fs has it closed what it does not need any more, which it gives up after 0.1 s: on a
    busy machine that leaves a connection open, for which another test is blamed."""
    return fsspec.asyn.sync(loop, call, *args)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
