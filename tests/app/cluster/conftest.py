"""What these tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.cluster.processes import wait_for_engines
from tests.app.server import REAL, Server, quick_runtime
from tests.conftest import ServerFor


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
def alone(server_for: ServerFor, tiny: Path) -> Server:
    """A server without Ray."""
    return server_for(f"--checkpoint={tiny}", quick_runtime(), engine=REAL)


@pytest.fixture(scope="package")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`ddpm serve --cluster auto`, with two engines."""
    flags = (
        f"--checkpoint={tiny}", quick_runtime(), "--cluster=auto", "--cluster-engines=2",
        "--max-client-samples=200",
    )  # fmt: skip
    log = tmp_path_factory.mktemp("cluster") / "server.log"
    with Server(log, *flags, engine=REAL) as server:
        wait_for_engines(server)
        yield server
    assert server.process.returncode == 0, server.log.read_text()
