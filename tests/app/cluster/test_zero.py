"""Engines that are there while somebody asks: none when idle, one for the first request or job, and
the server answers meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.http.test_metrics import read
from tests.app.server import REAL, Server, quick_runtime

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

BODY: dict[str, Any] = {"n": 4, "seed": 1, "steps": 5}
WAIT_SECONDS = 240


@pytest.fixture
def server(tiny: Path, tmp_path: Path) -> Iterator[Server]:
    flags = (
        f"--checkpoint={tiny}", quick_runtime(), "--cluster=auto", "--cluster-engines=0",
        "--cluster-idle-seconds=2",
    )  # fmt: skip
    with Server(tmp_path / "server.log", *flags, engine=REAL) as server:
        yield server
    assert server.process.returncode == 0, server.log.read_text()


def engines(server: Server) -> int:
    return sum(name[0] == "ddpm_engine_ready" for name in read(server))


def wait_until_idle(server: Server) -> None:
    """Until the last engine is gone."""
    deadline = time.monotonic() + WAIT_SECONDS
    while engines(server):
        assert time.monotonic() < deadline, server.log.read_text()[-4000:]
        time.sleep(0.5)


def test_the_last_engine_ends_and_one_comes_for_a_request_and_for_a_job(server: Server) -> None:
    expected = server.post("/sample", BODY).json()["samples"]
    described = server.client.get("/model").json()
    wait_until_idle(server)
    assert server.client.get("/readyz").status_code == 200
    assert server.client.get("/model").json() == described
    (model,) = server.client.get("/models").json()["models"]
    assert model["state"] == "unloaded"
    time.sleep(15)
    assert engines(server) == 0, "nobody asks"

    while (answer := server.post("/sample", BODY)).status_code == 503:
        assert "is being loaded" in answer.json()["detail"]
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.json()["samples"] == expected

    wait_until_idle(server)
    headers = {"Prefer": "respond-async"}
    place = server.client.post("/sample", json=BODY, headers=headers).headers["Location"]
    deadline = time.monotonic() + WAIT_SECONDS
    while server.client.get(place).json()["status"] != "finished":
        assert time.monotonic() < deadline, server.log.read_text()[-4000:]
        time.sleep(0.2)
    result = server.client.get(f"{place}/result", headers={"Accept": "application/json"})
    assert result.json()["samples"] == expected
