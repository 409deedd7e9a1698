"""Jobs outlive their servers: SIGKILL at random moments, and several servers at one database."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import Server

KILLS = 20
BODY = {"n": 500, "seed": 11, "steps": 20, "sampler": "ddim", "eta": 1.0, "labels": 2}
ASYNC = {"Prefer": "respond-async"}
ZIP = {"Accept": "application/zip"}
WAIT_SECONDS = 120


def accepted(server: Server, body: dict[str, Any]) -> str:
    """The id of a new job."""
    answer = server.client.post("/sample", json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def status(server: Server, job_id: str) -> dict[str, Any]:
    answer = server.client.get(f"/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_done(server: Server, job_id: str, done: int) -> None:
    """Until that many samples are made."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if status(server, job_id)["done"] >= done:
            return
        time.sleep(0.01)
    raise AssertionError((status(server, job_id), server.log.read_text()))


def kill(server: Server, after: float = 0.0) -> None:
    time.sleep(after)
    server.process.kill()
    server.process.wait()


@pytest.mark.timeout(900)  # twenty starts of a server
def test_a_job_whose_server_is_killed_twenty_times_is_the_same_bytes(
    database: str, tiny: Path, tmp_path: Path
) -> None:
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-url={database}",
        "--jobs-lease-seconds=1", "--max-samples=500",
    ]  # fmt: skip
    rng = random.Random(20)
    moments = sorted(rng.sample(range(1, BODY["n"]), KILLS))
    with Server(tmp_path / "server.log", *flags) as server:
        job_id = accepted(server, BODY)
        kill(server, rng.uniform(0, 0.1))
    for done in moments[1:]:
        with Server(tmp_path / "server.log", *flags) as server:
            wait_done(server, job_id, done)
            kill(server, rng.uniform(0, 0.1))
    with Server(tmp_path / "server.log", *flags) as server:
        wait_done(server, job_id, BODY["n"])
        expected = server.post("/sample", BODY, "application/zip").content
        assert server.client.get(f"/jobs/{job_id}/result", headers=ZIP).content == expected
