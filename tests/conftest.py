"""Fixtures that several packages' tests share."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.app.server import FAKE, STOP_SECONDS, Server
from tests.tiny import save_tiny

ServerFor = Callable[..., Server]
CACHE = ".pytest_cache/xdg"
GROUPS = {
    "tests/app/routes/test_errors": "real server",
    "tests/app/routes/test_generation": "real server",
    "tests/app/routes/test_streams": "real server",
    "tests/app/routes/test_system": "real server",
    "tests/app/cluster/test_cluster": "Ray",
    "tests/app/cluster/test_same_bytes": "Ray",
    "tests/benchmarks/": "timed",  # one after the other
}
"""Modules whose tests share what takes long to make, or must not run beside each other."""
LONGEST = (
    "tests/app/cluster/test_cluster",
    "tests/app/service/test_faults_under_load",
    "tests/app/playground/",
    "tests/app/routes/",
    "tests/app/service/",
    "tests/benchmarks/",
    "tests/diffusion/openvino/",
    "tests/app/engine/test_main",
    "tests/app/engine/test_runtime",
    "tests/diffusion/training/",
    "tests/app/engine/",
    "tests/app/client/",
)
"""What takes longest comes first: else one worker is left with it in the end."""


RUN_ON_A_GPU_TOO = "tests/app/service/test_faults_under_load"
"""Tests with real engines that hold on any device: `--device=cuda` marks them as the GPU's."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--device=cuda` runs real engines on the GPU, where a test does not say otherwise."""
    parser.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="of real engines")


def pytest_configure(config: pytest.Config) -> None:
    """Keep caches, converted networks among them, from run to run and apart from the user's; a
    worker beside others has one thread, as has what it starts."""
    if config.getoption("--device") == "cuda":
        os.environ["DDPM_DEVICE"] = "cuda"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(Path(cache) / "ms-playwright"))
    os.environ.setdefault("XDG_CACHE_HOME", str(config.rootpath / CACHE))
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a browser, PostgreSQL or a GPU, and put the longest modules first."""
    items.sort(key=place)
    on_gpu = config.getoption("--device") == "cuda"
    for item in items:
        if on_gpu and item.nodeid.startswith(RUN_ON_A_GPU_TOO):
            item.add_marker("gpu")
        if on_gpu and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU: PyTorch finds none here"))
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker("browser")
        if "postgres" in fixtures or "[postgresql" in item.nodeid:
            item.add_marker("postgres")


def place(item: pytest.Item) -> int:
    """The place of a test in LONGEST; those that are not in it come last, in their order."""
    places = (i for i, start in enumerate(LONGEST) if item.nodeid.startswith(start))
    return next(places, len(LONGEST))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each module's tests to one worker, so that it alone makes what they share; and so for
    the modules of a group."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.split("::")[0]
            groups = (group for start, group in GROUPS.items() if module.startswith(start))
            return next(groups, module)

    return ByGroup(config, log)


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """Each test has the loggers as they are at first: a command sets them up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in list(root.manager.loggerDict):
        if name.partition(".")[0] == "ddpm":
            logging.getLogger(name).setLevel(logging.NOTSET)
    yield
    if root.handlers != handlers:
        root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """PyTorch's CPU threads, set for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def server_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFor]:
    """`server_for(*flags, engine=…, keys=…)`: a server with these settings, which serves every test
    that asks for them. It is not to be stopped, and what it counts is not one test's."""
    running: dict[object, Server] = {}

    def find(*flags: str, engine: Sequence[str] = FAKE, keys: str = "") -> Server:
        settings = (flags, engine, keys)
        if settings not in running:
            log = tmp_path_factory.mktemp("server") / "server.log"
            running[settings] = Server(
                log, *flags, engine=engine, variables={"DDPM_API_KEYS": keys} if keys else {}
            )
            running[settings].wait_ready()
        return running[settings]

    yield find
    for server in running.values():
        server.client.close()
        server.process.terminate()
    for server in running.values():
        assert server.process.wait(STOP_SECONDS) == 0, server.log.read_text()


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
