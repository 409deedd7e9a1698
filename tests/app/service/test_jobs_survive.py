"""Jobs outlive their servers: SIGKILL at random moments, and several servers at one database."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import Server
from tests.postgres import Postgres
from tests.tiny import save_tiny

KILLS = 20
BODY: dict[str, Any] = {
    "n": 500,
    "seed": 11,
    "steps": 8,
    "sampler": "ddim",
    "eta": 1.0,
    "labels": 2,
}
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
        found = server.client.get(f"/jobs/{job_id}")
        if found.status_code == 200 and found.json()["done"] >= done:
            return
        assert found.status_code in (200, 503), found.text  # 503: the storage is being opened
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


def test_a_dead_servers_job_is_taken_over_by_another_on_the_same_database(
    postgres: Postgres, tiny: Path, tmp_path: Path
) -> None:
    flags = [
        f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-url={postgres.new_database()}",
        "--jobs-lease-seconds=1", "--max-samples=500",
    ]  # fmt: skip
    with (
        Server(tmp_path / "one.log", *flags) as one,
        Server(tmp_path / "other.log", *flags) as other,
    ):
        job_id = accepted(one, BODY)
        wait_done(other, job_id, 1)
        kill(one)
        wait_done(other, job_id, BODY["n"])
        expected = other.post("/sample", BODY, "application/zip").content
        assert other.client.get(f"/jobs/{job_id}/result", headers=ZIP).content == expected


def test_a_job_waits_for_a_server_with_its_weights(tiny: Path, tmp_path: Path) -> None:
    flags = ["--runtime=eager"]
    with Server(tmp_path / "server.log", f"--checkpoint={tiny}", *flags) as server:
        job_id = accepted(server, {"n": 120, "steps": 20})
        kill(server)
    colour = save_tiny(tmp_path / "colour", channels=3)
    with Server(tmp_path / "server.log", f"--checkpoint={colour}", *flags) as server:
        own = accepted(server, {"n": 1, "steps": 1})
        wait_done(server, own, 1)
        found = status(server, job_id)
        assert found["done"] < found["total"]
        assert found["detail"].startswith("waits for a server that runs tiny ")
    with Server(tmp_path / "server.log", f"--checkpoint={tiny}", *flags) as server:
        wait_done(server, job_id, 120)
