"""Fixtures that several packages' tests share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tests.app.server import FAKE, Server
from tests.tiny import save_tiny

ServerFor = Callable[..., Server]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """PyTorch's CPU threads, set for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def server_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFor]:
    """`server_for(*flags, engine=…, **environment)`: a server with these settings, which serves
    every test that asks for them. It is not to be stopped, and what it counts is not one test's."""
    running: dict[object, Server] = {}

    def find(*flags: str, engine: Sequence[str] = FAKE, **environment: str) -> Server:
        settings = (flags, engine, tuple(sorted(environment.items())))
        if settings not in running:
            log = tmp_path_factory.mktemp("server") / "server.log"
            running[settings] = Server(log, *flags, engine=engine, **environment)
            running[settings].wait_ready()
        return running[settings]

    yield find
    for server in running.values():
        server.client.close()
        assert server.stop() == 0, server.log.read_text()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional checkpoint of 8x8 pixels."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    return save_tiny(folder, num_classes=3, null_label=True)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without classes."""
    return save_tiny(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with ten classes."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    return save_tiny(folder, num_classes=10, null_label=True)
