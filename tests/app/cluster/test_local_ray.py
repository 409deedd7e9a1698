"""How Ray is started and ended on this machine: with a Ray that only notes what it is told."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cluster import local_ray as module
from app.cluster.local_ray import (
    CannotStart,
    check_gpus,
    cut_off,
    end,
    first_line,
    local_ray,
    start,
)
from app.cluster.signals import Signals
from app.settings import SettingError, Settings

WAIT_SECONDS = 60
IN_A_FOLDER = """
import os, signal
from app.cluster.local_ray import temporary_folder
with temporary_folder() as folder:
    (folder / "session").mkdir()
    print(folder, flush=True)
    {last}
"""


class FakeRay:
    """Notes what is called. `dead` are the processes of Ray that have ended."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.options: dict[str, Any] = {}
        self.error: Exception | None = None
        self.gpus = 0.0
        self.is_up = False
        self.dead: list[tuple[str, object]] = []
        self.serve = SimpleNamespace(shutdown=lambda: self.told.append("serve.shutdown"))

    def init(self, **options: Any) -> None:
        self.told.append("init")
        self.options = options
        if self.error is not None:
            raise self.error
        self.is_up = True

    def is_initialized(self) -> bool:
        return self.is_up

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": self.gpus} if self.gpus else {}

    def shutdown(self) -> None:
        self.told.append("shutdown")

    @property
    def worker(self) -> SimpleNamespace:
        node = SimpleNamespace(dead_processes=lambda: self.dead) if self.is_up else None
        return SimpleNamespace(_global_node=node)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray._private", fake)
    return fake


@pytest.mark.parametrize("last", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_folder_is_removed_after_the_block_and_when_the_process_is_killed(
    tmp_path: Path, last: str
) -> None:
    program = [sys.executable, "-c", IN_A_FOLDER.format(last=last)]
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        # who reads the output is not kept waiting until the folder is gone, 20 seconds
        process.communicate(timeout=15)
    assert folder.parent == tmp_path
    deadline = time.monotonic() + WAIT_SECONDS
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_ray_that_cannot_start_says_why_in_a_line_and_is_ended(
    ray: FakeRay, tmp_path: Path
) -> None:
    ray.error = ValueError("\nno room on /dev/shm\nand many lines more")
    with Signals(hangup_stops=True) as signals:
        with pytest.raises(CannotStart, match=r"^Ray cannot start: no room on /dev/shm$"):
            with local_ray(Settings(), tmp_path, signals):
                pytest.fail("it is not begun")
    assert ray.told == ["init", "shutdown"]


@pytest.mark.parametrize(
    ("least", "most", "each", "cpus"),
    [(3, 0, 1, 4), (1, 5, 2, 11), (0, 0, 1, 2), (3, 0, 0.5, 3), (1, 0, 0.25, 2)],
)
def test_ray_has_cpus_for_the_server_and_as_many_engines_as_there_may_be(
    ray: FakeRay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    least: int,
    most: int,
    each: float,
    cpus: int,
) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    settings = Settings(cluster_engines=least, cluster_max_engines=most, cluster_engine_cpus=each)
    start(settings, tmp_path)
    assert ray.options["num_cpus"] == cpus
    assert ray.options["_temp_dir"] == str(tmp_path / "ray")


def test_engines_that_would_wait_for_gpus_for_ever_are_refused(
    ray: FakeRay, tmp_path: Path
) -> None:
    check_gpus(Settings(cluster_engines=3), 0)
    check_gpus(Settings(cluster_engines=4, cluster_engine_gpus=0.5), 2)
    check_gpus(Settings(cluster_engines=20, cluster_engine_gpus=0.1), 2)
    with pytest.raises(SettingError, match="Ray finds 2 GPUs on this machine, for 3 engines"):
        check_gpus(Settings(cluster_engines=3, cluster_engine_gpus=0.6), 2)  # a GPU for each
    ray.gpus = 2
    settings = Settings(cluster_engines=3, cluster_engine_gpus=1)
    with Signals(hangup_stops=True) as signals:
        with pytest.raises(SettingError, match="Ray finds 2 GPUs on this machine, for 3 engines"):
            with local_ray(settings, tmp_path, signals):
                pytest.fail("it is not begun")
    assert ray.told == ["init", "serve.shutdown", "shutdown"]
    with pytest.raises(SettingError, match="for 1 engines"):
        check_gpus(Settings(cluster_engines=0, cluster_engine_gpus=1), 0)


@pytest.mark.parametrize(
    ("is_up", "dead", "told"),
    [
        (True, [], ["serve.shutdown", "shutdown"]),
        (True, ["log_monitor"], ["serve.shutdown", "shutdown"]),
        (True, ["log_monitor", "raylet"], ["shutdown"]),
        (True, ["gcs_server"], ["shutdown"]),
        (False, [], ["shutdown"]),
    ],
)
def test_serve_is_ended_only_where_ray_runs_with_all_that_is_vital(
    ray: FakeRay, is_up: bool, dead: list[str], told: list[str]
) -> None:
    ray.is_up = is_up
    ray.dead = [(name, object()) for name in dead]
    with Signals(hangup_stops=True) as signals:
        end(signals)
    assert ray.told == told


def test_what_takes_longer_than_it_has_ends_the_process_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statuses: list[int] = []
    is_over = threading.Event()

    def exit_at_once(status: int) -> None:
        statuses.append(status)
        is_over.set()

    monkeypatch.setattr(os, "_exit", exit_at_once)
    before = set(threading.enumerate())
    with cut_off(3600):
        (timer,) = set(threading.enumerate()) - before
    timer.join(WAIT_SECONDS)
    assert not timer.is_alive() and not statuses
    with cut_off(0):
        assert is_over.wait(WAIT_SECONDS)
    assert statuses == [1]


def test_of_an_error_of_another_process_it_says_what_was_raised_there() -> None:
    error = ValueError("\x1b[36mray::ProxyActor.ready()\x1b[39m (pid=5)\nTraceback …")
    assert first_line(ValueError("a disk is full\nTraceback …")) == "a disk is full"
    error.cause = OSError("the port is taken")  # type: ignore[attr-defined]
    assert first_line(error) == "the port is taken"
    assert first_line(OSError()) == "OSError"
