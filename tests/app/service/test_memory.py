"""The API process' memory while clients ask for the largest answers, and read them slowly or not at
all: on a real server with the default limits."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.app.raw_http import Answer, connect, request
from tests.app.server import Server

pytestmark = pytest.mark.slow
BOUND_MB = 300
"""The API process' resident memory at its peak. 110 of these are there before the first request."""
WRITE_SECONDS = 5
LARGEST = b'{"n": 256, "steps": 42, "frames": 41, "sampler": "ddim", "seed": 1}'
"""The largest answer: 256 x 41 x 2 float32 pictures of 28x28 are 63 of the 64 MiB allowed."""
LONG = b'{"n": 16, "steps": 1000, "frames": 1000, "seed": 1}'
"""As events, 100 MiB."""
ADDRESSES = itertools.cycle(f"127.0.1.{number}" for number in range(1, 255))
"""Every connection is another client's: one alone has at most half of the memory."""
NPZ, PNG, EVENTS = "application/x-npz", "image/png", "text/event-stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("memory") / "server.log"
    flags = [f"--write-seconds={WRITE_SECONDS}"]
    with Server(log, *flags, engine=("tests.fake_engine", "0")) as server:
        yield server
        assert peak_megabytes(server) < BOUND_MB


@pytest.fixture(scope="module")
def result(server: Server) -> str:
    """The place of a finished job's result: 63 MiB of files."""
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    accepted = server.client.post("/denoise-trajectory", content=LARGEST, headers=headers)
    place: str = accepted.headers["location"]
    assert eventually(lambda: server.client.get(place).json()["status"] == "finished")
    return f"{place}/result"


def peak_megabytes(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(600):
        if holds():
            return True
        time.sleep(0.1)
    return False


def trajectory(accept: str, body: bytes = LARGEST) -> bytes:
    return request("POST", "/denoise-trajectory", body, f"Accept: {accept}")


def is_given_back(server: Server) -> bool:
    """Does the largest answer have room again?"""
    with connect(server) as connection:
        connection.settimeout(120)
        connection.sendall(trajectory(NPZ))
        return Answer(connection).status == 200


def test_sixteen_of_the_largest_answers_at_once(server: Server) -> None:
    def ask(accept: str) -> Answer:
        with connect(server, next(ADDRESSES)) as connection:
            connection.settimeout(120)
            connection.sendall(trajectory(accept))
            return Answer(connection)

    accepts = [NPZ, PNG, "image/gif", "image/webp", "image/apng", "application/json"]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, [accepts[i % 6] for i in range(16)]))
    assert {answer.status for answer in answers} <= {200, 503}
    assert any(answer.status == 200 for answer in answers)
    for answer in answers:
        if answer.status == 503:
            assert "of the 100663296 bytes that they may" in answer.problem(503)["detail"]
            assert 1 <= int(answer.headers["retry-after"]) <= 120
    for accept in accepts:  # one after another, each of them is let through
        assert ask(accept).status == 200, accept
    assert peak_megabytes(server) < BOUND_MB


@pytest.mark.parametrize("accept", [PNG, NPZ, "application/json"])
def test_ten_readers_of_a_large_result_who_do_not_read(
    server: Server, result: str, accept: str
) -> None:
    with ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(unread(server))
            connection.sendall(request("GET", result, b"", f"Accept: {accept}"))
        assert eventually(lambda: is_given_back(server))
    assert peak_megabytes(server) < BOUND_MB


def test_forty_readers_of_events_who_do_not_read(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(unread(server))
            connection.sendall(trajectory(EVENTS, LONG))
        time.sleep(WRITE_SECONDS)
        assert eventually(lambda: is_given_back(server))
    assert peak_megabytes(server) < BOUND_MB


def unread(server: Server) -> socket.socket:
    """A connection whose other end soon notices that nobody reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.bind((next(ADDRESSES), 0))
    connection.connect(("127.0.0.1", server.port))
    return connection
