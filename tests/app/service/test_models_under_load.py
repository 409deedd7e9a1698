"""Three real networks in one server under mixed load: one is replaced, one is unloaded and asked
for again, the engine is killed twice. No request is lost, and every byte is as from a server of
that model alone.
"""

import os
import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import REAL, Server, quick_runtime
from tests.app.service.test_keys import ADMIN, table
from tests.app.service.test_limits import bearer
from tests.tiny import save_tiny

CLIENTS = 6
"""Requests at once, in turn of one model and another."""
SECONDS = 8.0
"""How long they go on, at least; with what happens meanwhile."""
SAMPLERS = ("ddpm", "ddim", "dpmpp")
BODIES: list[dict[str, Any]] = [
    {"n": 1 + i % 3, "seed": i, "steps": (50, 9, 20)[i % 3], "sampler": SAMPLERS[i % 3]}
    for i in range(9)
]
JOB: dict[str, Any] = {"n": 150, "seed": 77, "steps": 50}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Three models, and `b2`, which takes the place of `b`."""
    return {
        "a": save_tiny(tmp_path / "a"),
        "b": save_tiny(tmp_path / "b", num_classes=3, null_label=True),
        "c": save_tiny(tmp_path / "c", channels=3),
        "b2": save_tiny(tmp_path / "b2", size=16),
    }


def pictures(answer: dict[str, Any]) -> list[str]:
    return [sample["sha256"] for sample in answer["samples"]]


def alone(folder: Path, log: Path) -> tuple[list[list[str]], list[str]]:
    """What a server of this model alone answers to BODIES, and to JOB."""
    with Server(log, f"--checkpoint={folder}", quick_runtime(), engine=REAL) as server:
        made = [server.post("/sample", body) for body in (*BODIES, JOB)]
    *answers, job = [pictures(answer.json()) for answer in made]
    return answers, job


class Load:
    """Clients that ask for the models in turn until they are told to stop. One that is told to come
    back does so, as Retry-After says."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.is_over = False
        self.answers: list[tuple[str, int, list[str]]] = []  # model, number of the body, images
        self.waits: list[int] = []

    def run(self, client: int) -> None:
        turn = client
        while not self.is_over:
            model, number = "abc"[turn % 3], turn % len(BODIES)
            self.answers.append((model, number, self.ask(model, number)))
            turn += 1 + client % 2

    def ask(self, model: str, number: int) -> list[str]:
        while True:
            answer = self.server.post("/sample", {**BODIES[number], "model": model})
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                return pictures(answer.json())
            self.waits.append(int(answer.headers["retry-after"]))
            time.sleep(0.1)


def until_state(server: Server, name: str, **fields: Any) -> None:
    deadline = time.monotonic() + 120
    while True:
        entry = server.client.get(f"/models/{name}").json()
        if fields.items() <= entry.items():
            return
        assert time.monotonic() < deadline, entry
        time.sleep(0.05)


def disturb(server: Server, folders: dict[str, Path]) -> None:
    """Replace b, unload c, and kill the engine in both."""
    time.sleep(SECONDS / 4)
    shutil.rmtree(folders["b"])
    folders["b2"].rename(folders["b"])
    assert server.client.post("/models/b").status_code == 202
    time.sleep(0.3)
    assert server.client.delete("/models/c").status_code == 202
    time.sleep(SECONDS / 4)
    os.kill(server.engine_pid(), signal.SIGKILL)
    until_state(server, "a", state="ready")
    time.sleep(SECONDS / 4)
    os.kill(server.engine_pid(), signal.SIGKILL)
    for name in "abc":
        until_state(server, name, state="ready", replacement=None)
    time.sleep(SECONDS / 4)


@pytest.mark.slow
def test_three_networks_under_load_lose_nothing_and_give_the_bytes_of_one_alone(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    expected = {name: alone(folder, tmp_path / f"{name}.log") for name, folder in folders.items()}
    keys = tmp_path / "keys.toml"
    keys.write_text(table("root", ADMIN, "admin = true"))
    flags = ["--checkpoint=" + ",".join(str(folders[name]) for name in "abc"), quick_runtime()]
    (tmp_path / "together").mkdir()
    log = tmp_path / "together/server.log"
    with (
        Server(log, *flags, f"--api-keys-file={keys}", engine=REAL) as server,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        server.client.headers.update(bearer(ADMIN))
        job = server.client.post(
            "/sample", json={**JOB, "model": "c"}, headers={"Prefer": "respond-async"}
        ).headers["location"]
        load = Load(server)
        clients: list[Future[None]] = [pool.submit(load.run, i) for i in range(CLIENTS)]
        disturb(server, folders)
        load.is_over = True
        for client in clients:
            client.result()
        while server.client.get(job).json()["status"] in ("waiting", "running"):
            time.sleep(0.1)
        assert pictures(server.client.get(f"{job}/result").json()) == expected["c"][1]
        metrics = server.client.get("/metrics").text
    assert 'ddpm_engine_restarts_total{engine="0"} 2.0' in metrics
    seen = {"b": False, "b2": False}
    for model, number, images in load.answers:
        allowed = {name: expected[name][0][number] for name in ("b", "b2")}
        if model == "b":
            seen |= {name: True for name, made in allowed.items() if made == images}
            assert images in allowed.values()
        else:
            assert images == expected[model][0][number]
    assert seen == {"b": True, "b2": True}, "the old one, then the new one"
    assert load.waits and max(load.waits) <= 60
    assert len(load.answers) >= 30
