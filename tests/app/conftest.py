"""One server on the shipped checkpoint, shared by the tests that only talk to it."""

from collections.abc import Iterator

import pytest

from tests.app.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with Server(log, "--max-samples=64", "--max-frames=100", "--max-queue-samples=256") as running:
        yield running
        assert running.stop() == 0, log.read_text()
