"""`ddpm serve --cluster auto` ends with all that it has started, at any moment."""

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.app.cluster.processes import wait_for_engines
from tests.app.server import REAL, Server, quick_runtime

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

WAIT_SECONDS = 120


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, whose name is short."""
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def server(tiny: Path, tmp_path: Path, temporary: Path) -> Iterator[Server]:
    """One that has just been started."""
    flags = (f"--checkpoint={tiny}", quick_runtime(), "--cluster=auto")
    variables = {"TMPDIR": str(temporary)}
    server = Server(tmp_path / "server.log", *flags, engine=REAL, variables=variables)
    yield server
    server.client.close()
    if server.process.poll() is None:
        server.stop()


def rays(server: Server, name: str) -> list[psutil.Process]:
    """Those of Ray's processes that the server has started, by their program's name."""
    return [each for each in psutil.Process(server.process.pid).children() if each.name() == name]


def of(temporary: Path) -> list[int]:
    """The processes that have this folder for temporary files."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(temporary):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def check_nothing_is_left(temporary: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while left := [*of(temporary), *temporary.iterdir()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_interrupted_leaves_nothing(
    server: Server, temporary: Path, number: int
) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not rays(server, "raylet" if number == signal.SIGTERM else "gcs_server"):
        assert time.monotonic() < deadline and server.process.poll() is None
        time.sleep(0.05)
    server.process.send_signal(number)
    assert server.process.wait(WAIT_SECONDS) == 0
    assert "Traceback" not in server.log.read_text()
    check_nothing_is_left(temporary)


def test_what_kills_the_server_leaves_nothing(server: Server, temporary: Path) -> None:
    server.wait_ready()
    server.process.kill()
    check_nothing_is_left(temporary)


def test_without_a_vital_process_of_ray_the_server_ends_and_says_so(
    server: Server, temporary: Path
) -> None:
    server.wait_ready()
    wait_for_engines(server, 1)
    (raylet,) = rays(server, "raylet")
    raylet.kill()
    assert server.process.wait(WAIT_SECONDS) == 1
    assert re.search("^ddpm serve: Ray's process raylet has ended", server.log.read_text(), re.M)
    check_nothing_is_left(temporary)
