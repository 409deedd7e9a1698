"""Whole machines die while requests run: three logical ones, a head and two with an engine each."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.http.test_metrics import read
from tests.app.server import REAL, Server, free_port, quick_runtime
from tests.conftest import ServerFor

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KILLS = 3
BODIES: list[dict[str, Any]] = [
    {"n": 32 if i % 4 else 64, "seed": i, "labels": i % 3} for i in range(8)
]
WAIT_SECONDS = 120


class Machines(Server):
    """The server of a cluster of several machines; jobs and logs are in its folder."""

    def __init__(self, folder: Path, log: Path, *settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        module = "tests.app.cluster.nodes"
        command = [sys.executable, "-m", module, str(folder), str(self.port), *settings]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out
            )
        self.client = httpx.Client(base_url=self.url, timeout=300)
        self.wait_for(b"deployed\n")

    def wait_for(self, word: bytes) -> None:
        while (said := self.process.stdout.readline()) != word:
            assert said, self.log.read_text()

    def kill_one(self) -> None:
        """End a machine with all that runs there; another one joins."""
        self.process.stdin.write(b"kill\n")
        self.process.stdin.flush()
        self.wait_for(b"killed\n")

    def stop(self) -> int:
        self.process.stdin.close()
        return self.process.wait(WAIT_SECONDS)


@contextmanager
def machines(tiny: Path, tmp_path: Path) -> Iterator[Machines]:
    settings = (
        f"checkpoint={tiny}", quick_runtime().removeprefix("--"), "cluster_engines=2", "threads=1",
        "cluster_silence_seconds=3", f"jobs_folder={tmp_path / 'jobs'}", "device=cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ddpm-") as folder:  # sockets need a short path
        server = Machines(Path(folder), tmp_path / "server.log", *settings)
        try:
            server.wait_ready()
            yield server
        finally:
            server.client.close()
            server.stop()
            server.process.stdout.close()


def ready(server: Server) -> float:
    return sum(on for name, on in read(server).items() if name[0] == "ddpm_engine_ready")


def test_machines_that_die_under_load_lose_nothing(
    server_for: ServerFor, tiny: Path, tmp_path: Path
) -> None:
    alone = server_for(f"--checkpoint={tiny}", quick_runtime(), engine=REAL)
    expected = [alone.post("/sample", body).json()["samples"] for body in BODIES]
    refusals: list[str] = []

    def samples(body: dict[str, Any]) -> Any:
        while (answer := server.post("/sample", body)).status_code == 503:
            refusals.append(answer.headers["Retry-After"])
            time.sleep(int(refusals[-1]))
        assert answer.status_code == 200, answer.text
        return answer.json()["samples"]

    with machines(tiny, tmp_path) as server, ThreadPoolExecutor(len(BODIES)) as pool:
        for _ in range(KILLS):
            deadline = time.monotonic() + WAIT_SECONDS
            while ready(server) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            running = [pool.submit(samples, body) for body in BODIES]
            while read(server)["ddpm_queued_samples",] < 64:
                time.sleep(0.01)
            server.kill_one()
            assert [each.result() for each in running] == expected
    assert len(refusals) <= KILLS
