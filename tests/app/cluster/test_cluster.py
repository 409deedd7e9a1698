"""A server whose engines are replicas of Ray Serve answers what a server without Ray does, byte for
byte, whatever dies meanwhile: `ddpm serve --cluster auto`, with two engines.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.app.cluster.processes import replicas, wait_for_engines
from tests.app.http.test_metrics import read
from tests.app.server import Server

pytest.importorskip("ray", reason="Ray is not installed: `make test-cluster` installs it")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

BODIES: list[dict[str, Any]] = [
    {"n": 1 + i % 4, "seed": i, "steps": [50, 20, 7][i % 3], "labels": i % 3, "guidance": i % 2}
    for i in range(12)
]
LONG = {"n": 144, "seed": 1, "labels": 1, "frames": 5}
"""Goes on for seconds after its first frame, on both engines."""


def samples(server: Server, body: dict[str, Any]) -> Any:
    """Asked for again as Retry-After says where there is no engine."""
    while (answer := server.post("/sample", body)).status_code == 503:
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    return answer.json()["samples"]


Frames = dict[tuple[int, int], dict[str, str]]
"""By their index and t."""


def stream(
    server: Server, body: dict[str, Any], at_first_frame: Callable[[], None] = lambda: None
) -> Frames:
    """The frames of a stream, each of them once."""
    frames: Frames = {}
    headers = {"Accept": "text/event-stream"}
    url = f"{server.url}/denoise-trajectory"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=300) as answer:
        assert answer.status_code == 200
        event = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "frame":
                frame = json.loads(value)
                assert (frame["index"], frame["t"]) not in frames
                if not frames:
                    at_first_frame()
                frames[frame["index"], frame["t"]] = frame
    assert event == "done"
    assert frames
    return frames


@pytest.fixture(scope="module")
def frames(alone: Server) -> Frames:
    """What the server without Ray answers to LONG."""
    return stream(alone, LONG)


@pytest.fixture(scope="module")
def expected(alone: Server) -> list[Any]:
    """What it answers to BODIES."""
    return [samples(alone, body) for body in BODIES]


def test_a_request_has_one_id_and_problems_are_ours(server: Server) -> None:
    answer = server.client.post(
        "/sample", json={"n": 0}, headers={"X-Request-ID": "one-of-the-clients"}
    )
    assert answer.status_code == 422
    assert answer.headers.get_list("x-request-id") == ["one-of-the-clients"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_engines_are_as_important_to_the_system_as_without_ray(server: Server) -> None:
    mine = psutil.Process(server.process.pid).nice()
    for replica in (*replicas(server), *replicas(server, "server")):
        assert {each.nice() for each in (replica, *replica.children())} == {mine}


def test_a_client_over_its_limit_is_told_when_to_come_again(server: Server) -> None:
    asked = [{"n": 150, "seed": seed} for seed in (1, 2)]
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda body: server.post("/sample", body), asked)
    served, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (refused.status_code, refused.headers["content-type"]) == (
        429, "application/problem+json"
    )  # fmt: skip
    assert int(refused.headers["Retry-After"]) >= 1
    assert len(served.json()["samples"]) == 150


def test_what_nobody_waits_for_any_more_is_cancelled_on_every_engine(server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/sample", json={"n": 150, "seed": 1}, timeout=0.5)
    deadline = time.monotonic() + 10
    while read(server)["ddpm_backlog_rows",]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [1, 2], ids=["one", "both"])
def test_replicas_that_are_killed_lose_nothing(
    server: Server, expected: list[Any], frames: Frames, number: int
) -> None:
    wait_for_engines(server)
    killed = replicas(server)[:number]

    def kill() -> None:
        for process in killed:
            process.kill()

    with ThreadPoolExecutor(len(BODIES)) as pool:
        running = [pool.submit(samples, server, body) for body in BODIES]
        assert stream(server, LONG, at_first_frame=kill) == frames
        assert [each.result() for each in running] == expected
    wait_for_engines(server)


def test_an_engine_process_that_is_killed_is_started_again_by_its_replica(
    server: Server, frames: Frames
) -> None:
    wait_for_engines(server)
    before = replicas(server)
    (engine,) = before[0].children()
    assert stream(server, LONG, at_first_frame=engine.kill) == frames
    wait_for_engines(server)
    assert {each.pid for each in replicas(server)} == {each.pid for each in before}


def test_a_replica_that_hangs_is_given_up_after_its_silence(server: Server, frames: Frames) -> None:
    wait_for_engines(server)
    replica = replicas(server)[0]
    hanging = [*replica.children(), replica]

    def stop() -> None:
        for process in hanging:
            process.suspend()

    assert stream(server, LONG, at_first_frame=stop) == frames
    for process in hanging:  # Ray would take half a minute
        process.kill()
    wait_for_engines(server)


def test_a_server_that_is_killed_is_started_again_and_finds_the_engines(
    server: Server, expected: list[Any]
) -> None:
    (process,) = replicas(server, "server")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_engines(server)
    assert samples(server, BODIES[0]) == expected[0]
