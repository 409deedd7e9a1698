"""Clients that connect and stall: others are served, and in the end everything is given back."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.http.uvicorn_protocol import MAX_CHUNKS, ConnectionLimit, own_files
from tests.app.raw_http import Answer, ask, connect, request
from tests.app.server import Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

CLIENTS = 500
BODY = {"steps": 2, "seed": 1}
JSON = "Content-Type: application/json"
LAST_CHUNKS = b'c\r\n{"steps": 2}\r\n0\r\n\r\n'
HALF_A_BODY = (
    b"POST /sample HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b'Content-Length: 100000\r\n\r\n{"labels": [' + b"1," * 20_000
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow")
    flags = [f"--checkpoint={save_tiny(folder / 'tiny')}", "--runtime=eager", "--body-seconds=2"]
    with Server(folder / "server.log", *flags, "--keep-alive-seconds=3") as server:
        yield server


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def megabytes(server: Server) -> float:
    """Resident memory of the API process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.1)
    return False


def is_closed(connection: socket.socket) -> bool:
    """Wait for the server's end of it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.slow
def test_a_body_that_stalls_is_a_408_and_the_end_of_the_connection(tiny: Server) -> None:
    with connect(tiny) as connection:
        connection.sendall(HALF_A_BODY)
        answer = Answer(connection)
        assert "the body did not arrive within 2 seconds" in answer.problem(408)["detail"]
        assert answer.headers["connection"] == "close"
        assert is_closed(connection)


@pytest.mark.slow
def test_a_body_that_drips_has_no_more_time_than_one_that_stalls(tiny: Server) -> None:
    with connect(tiny) as connection:
        head, _, _ = HALF_A_BODY.partition(b"{")
        connection.sendall(head + b"{")
        connection.settimeout(0.2)
        for _ in range(100):
            connection.sendall(b" ")
            try:
                assert connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 408"
                return
            except TimeoutError:
                continue
        raise AssertionError("it drips for ever")


@pytest.mark.slow
@pytest.mark.parametrize(
    "beginning", [b"", b"P", b"POST /sample HTTP/1.1\r\nHost: te"], ids=["nothing", "byte", "half"]
)
def test_a_head_that_does_not_come_ends_the_connection(tiny: Server, beginning: bytes) -> None:
    with connect(tiny) as connection:
        connection.sendall(beginning)
        assert is_closed(connection)
    with connect(tiny) as connection:  # nor the next one's, after an answer
        connection.sendall(request("GET", "/livez"))
        assert Answer(connection).status == 200
        connection.sendall(beginning)
        assert is_closed(connection)


@pytest.mark.slow
def test_an_idle_connection_is_kept_for_longer_than_a_head_may_take(server_for: ServerFor) -> None:
    server = server_for("--body-seconds=1")  # and 75 seconds of keep-alive
    with connect(server) as kept, connect(server) as silent:
        kept.sendall(request("GET", "/livez"))
        assert Answer(kept).status == 200
        assert is_closed(silent)
        with connect(server) as another:
            assert is_closed(another), "its second has begun after the answer, and is over"
        kept.sendall(request("GET", "/livez"))
        assert Answer(kept).status == 200
        kept.sendall(b"G")  # from here on the second counts again
        assert is_closed(kept)


def test_a_body_that_goes_on_after_its_answer_does_not_keep_the_connection(tiny: Server) -> None:
    with connect(tiny) as connection:
        connection.sendall(request("POST", "/sample", b"", "Content-Length: 9999"))
        Answer(connection).problem(415)
        for _ in range(100):
            try:
                connection.sendall(b" ")
            except OSError:
                return
            time.sleep(0.1)
        raise AssertionError("it goes on for ever")


def test_a_body_of_single_bytes_ends_before_it_takes_long(tiny: Server) -> None:
    head = request("POST", "/sample", b"", JSON, "Transfer-Encoding: chunked")
    too_many = ask(tiny, head + MAX_CHUNKS * b"1\r\n \r\n" + LAST_CHUNKS)
    assert "more than 1000 chunks" in too_many.problem(400)["detail"]
    with connect(tiny) as connection:  # each body has as many as are allowed
        connection.sendall(2 * (head + (MAX_CHUNKS - 1) * b"1\r\n \r\n" + LAST_CHUNKS))
        assert [Answer(connection).status for _ in range(2)] == [200, 200]


def test_a_request_may_run_for_longer_than_its_body_may_take(tiny: Server) -> None:
    assert tiny.post("/sample", {"n": 128, "steps": 50}).status_code == 200  # 4 s on one core


@pytest.mark.slow
def test_many_stalled_clients_leave_others_served_and_nothing_behind(tiny: Server) -> None:
    expected = tiny.post("/sample", BODY).json()["samples"]
    before, memory = descriptors(tiny), megabytes(tiny)
    with ExitStack() as stack:
        stalled = [stack.enter_context(connect(tiny)) for _ in range(CLIENTS)]
        for connection in stalled:
            connection.sendall(HALF_A_BODY)
        for _ in range(5):
            assert tiny.post("/sample", BODY).json()["samples"] == expected
        for connection in stalled:
            Answer(connection).problem(408)
        assert eventually(lambda: descriptors(tiny) <= before), descriptors(tiny)
    # Each may leave what it sent, and as much again, with the allocator; not more.
    assert megabytes(tiny) - memory < 20 + CLIENTS * 2 * len(HALF_A_BODY) / 2**20
    assert tiny.post("/sample", BODY).json()["samples"] == expected


LARGE = b'{"n": 80, "steps": 32, "frames": 31, "sampler": "ddim", "seed": 1}'
SIZE = 80 * 31 * 2 * 28 * 28 * 4
"""Bytes of pictures in the npz, 15 MiB: more than the kernel takes of what nobody reads."""
BUDGET = 20 << 20
"""Memory for one such answer at a time."""


@pytest.fixture(scope="module")
def writer(server_for: ServerFor) -> Server:
    """A server that waits two seconds for a reader."""
    flags = ["--write-seconds=2", f"--answers-budget-bytes={BUDGET}"]
    return server_for(*flags, engine=("tests.fake_engine", "0"))


def large(accept: str = "application/x-npz") -> bytes:
    return request("POST", "/denoise-trajectory", LARGE, f"Accept: {accept}")


def small_buffer(server: Server, size: int) -> socket.socket:
    """A connection that takes about `size` bytes before its reader reads them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.connect(("127.0.0.1", server.port))
    connection.settimeout(30)
    return connection


def received(connection: socket.socket, bytes_at_once: int, pause: float, seconds: float) -> int:
    """How many bytes a client gets that reads at this pace, up to the end or for so long."""
    size, ending = 0, time.monotonic() + seconds
    while size < SIZE and time.monotonic() < ending:
        try:
            part = connection.recv(bytes_at_once)
        except ConnectionResetError:
            break
        if not part:
            break
        size += len(part)
        time.sleep(pause)
    return size


def is_free(server: Server) -> bool:
    with connect(server) as connection:
        connection.sendall(large())
        return Answer(connection).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["application/x-npz", "text/event-stream"])
def test_a_client_that_does_not_read_is_cut_off_and_its_memory_is_free(
    writer: Server, accept: str
) -> None:
    with small_buffer(writer, 4096) as connection:
        connection.sendall(large(accept))
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(3)
        assert eventually(lambda: is_free(writer))
        assert received(connection, 1 << 20, 0, 30) < SIZE - (1 << 20)


@pytest.mark.slow
def test_a_client_that_reads_a_few_bytes_now_and_then_is_cut_off(writer: Server) -> None:
    with small_buffer(writer, 4096) as connection:
        connection.sendall(large())
        trickled = received(connection, 100, 0.01, seconds=6)
        assert trickled + received(connection, 1 << 20, 0, 30) < SIZE - (1 << 20)


@pytest.mark.slow
def test_a_slow_reader_that_goes_on_gets_all(writer: Server) -> None:
    with small_buffer(writer, 1 << 16) as connection:
        connection.sendall(large())
        began = time.monotonic()
        assert received(connection, 1 << 16, 0.02, seconds=120) >= SIZE
        assert time.monotonic() - began > 4, "longer than it may pause"


@pytest.mark.slow
def test_a_stream_may_be_quiet_for_longer_than_its_reader_may_be_slow(
    server_for: ServerFor,
) -> None:
    server = server_for("--write-seconds=1", engine=("tests.fake_engine", "2.5"))
    with connect(server) as connection:
        body = b'{"steps": 2, "frames": 2}'
        accept = "Accept: text/event-stream"
        connection.sendall(request("POST", "/denoise-trajectory", body, accept))
        answer = Answer(connection)
    assert answer.body.count(b"event: frame\n") == 2
    assert answer.body.count(b"event: done\n") == 1


@pytest.mark.slow
def test_an_upgrade_that_is_not_offered_is_ignored(server_for: ServerFor) -> None:
    with connect(server_for()) as connection:
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        upgrade = ["Upgrade: websocket", "Connection: Upgrade", key, "Sec-WebSocket-Version: 13"]
        connection.sendall(request("GET", "/none", b"", *upgrade))
        Answer(connection).problem(404)


@pytest.mark.parametrize(("files", "own"), [(64, 32), (256, 128), (1024, 128), (1 << 20, 128)])
def test_files_are_kept_free_of_connections(files: int, own: int) -> None:
    assert own_files(files) == own


def test_too_many_connections_are_told_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = ConnectionLimit(2)
    assert limit.has_for(2) and not caplog.records
    assert not limit.has_for(3) and not limit.has_for(3)
    assert len(caplog.records) == 1
    assert "there are 2 connections, and no room for more" in caplog.records[0].message
    now = 60.0
    assert not limit.has_for(3)
    assert len(caplog.records) == 2
