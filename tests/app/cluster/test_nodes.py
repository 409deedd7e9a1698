"""Replicas and whole machines die while requests run: a head and two or four machines with an
engine each, all of them logical ones of this machine."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.cluster.processes import WAIT_SECONDS, replicas, wait_for_engines
from tests.app.http.test_metrics import read
from tests.app.server import REAL, Server, free_port, quick_runtime
from tests.conftest import ServerFor

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SLOW_STEPS = ("tests.fake_engine", "0.01")
"""An engine whose requests go on for seconds, and need no processor."""
BODIES: list[dict[str, Any]] = [
    {"n": 32 if i % 4 else 64, "seed": i, "labels": i % 3} for i in range(8)
]


class Machines(Server):
    """The server of a cluster of several machines; jobs and logs are in its folder."""

    def __init__(self, folder: Path, log: Path, engine: Sequence[str], *settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        module = "tests.app.cluster.nodes"
        arguments = [str(folder), str(self.port), *engine, "--", *settings]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
            )  # fmt: skip
        self.client = httpx.Client(base_url=self.url, timeout=300)
        self.wait_for(b"deployed\n")

    def wait_for(self, word: bytes) -> None:
        while (said := self.process.stdout.readline()) != word:
            assert said, self.log.read_text()

    def kill_machine(self) -> None:
        """End a machine with all that runs there; another one joins soon."""
        self.process.stdin.write(b"kill\n")
        self.process.stdin.flush()
        self.wait_for(b"killed\n")

    def kill_replica(self) -> None:
        """End a replica, and with it its engine; Ray starts another one."""
        replicas(self)[0].kill()

    def stop(self) -> int:
        self.process.stdin.close()
        return self.process.wait(WAIT_SECONDS)


@contextmanager
def machines(
    number: int, tiny: Path, tmp_path: Path, engine: Sequence[str] = SLOW_STEPS
) -> Iterator[Machines]:
    """A cluster with so many engines, all of them ready."""
    settings = (
        f"checkpoint={tiny}", quick_runtime().removeprefix("--"), f"cluster_engines={number}",
        "threads=1", "cluster_silence_seconds=3", f"jobs_folder={tmp_path / 'jobs'}", "device=cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ddpm-") as folder:  # sockets need a short path
        server = Machines(Path(folder), tmp_path / "server.log", engine, *settings)
        try:
            server.wait_ready()
            wait_for_engines(server, number)
            yield server
        finally:
            server.client.close()
            server.stop()
            server.process.stdout.close()


def samples(server: Server, body: dict[str, Any]) -> tuple[Any, int]:
    """The images, asked for again as Retry-After says, and how often that was."""
    refusals = 0
    while (answer := server.post("/sample", body)).status_code == 503:
        refusals += 1
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    return answer.json()["samples"], refusals


def check_kills(server: Machines, alone: Server, number: int, kills: Sequence[str]) -> None:
    """Have replicas and machines killed under load, one after the other. Nothing is lost, nothing
    is wrong, and no client is sent away twice."""
    expected = [alone.post("/sample", body).json()["samples"] for body in BODIES]
    with ThreadPoolExecutor(len(BODIES)) as pool:
        for kill in kills:
            wait_for_engines(server, number)
            running = [pool.submit(samples, server, body) for body in BODIES]
            while read(server)["ddpm_queued_samples",] < 64:
                time.sleep(0.01)
            getattr(server, kill)()
            answers = [each.result() for each in running]
            assert [images for images, _ in answers] == expected
            assert all(refusals <= 1 for _, refusals in answers)


@pytest.mark.parametrize("number", [2, 4])
def test_replicas_and_machines_that_die_under_load_lose_nothing(
    server_for: ServerFor, tiny: Path, tmp_path: Path, number: int
) -> None:
    """Ten kills in all, of the two parameters."""
    alone = server_for(f"--checkpoint={tiny}", quick_runtime())
    with machines(number, tiny, tmp_path) as server:
        kills = ("kill_replica", "kill_machine") * 2 + ("kill_replica",)
        check_kills(server, alone, number, kills)


def test_it_is_the_same_with_real_engines(
    server_for: ServerFor, tiny: Path, tmp_path: Path
) -> None:
    alone = server_for(f"--checkpoint={tiny}", quick_runtime(), engine=REAL)
    with machines(2, tiny, tmp_path, REAL) as server:
        check_kills(server, alone, 2, ("kill_machine", "kill_replica"))
