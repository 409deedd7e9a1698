"""An engine process is started whole or not at all, and is gone when it is let go."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator

import pytest

from app.pool.child import FILES, Child, end, start
from app.pool.connection import Death
from app.wire.codec import ProtocolError, encode
from app.wire.flight_recorder import Place
from app.wire.messages import Starting
from app.wire.options import Options

pytestmark = pytest.mark.anyio

OPTIONS = Options("cpu", "auto", threads=1)
ECHO = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
if received := connection.recv(99):
    connection.sendall(received)
"""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def running(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def room_for_files(count: int) -> Iterator[None]:
    """In the block this process can open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    gaps, highest = [], max(map(int, open_files()))
    while (fd := os.open(os.devnull, os.O_RDONLY)) < highest:
        gaps.append(fd)
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in gaps:
            os.close(fd)


async def test_it_receives_what_the_process_sends_and_none_when_it_is_gone() -> None:
    child = await start(running(ECHO), OPTIONS)
    child.send(encode(Starting("m#1", "loading")))
    assert await child.receive() == Starting("m#1", "loading")
    assert await child.receive() is None
    assert await child.end() == Death([], was_killed=False)
    assert not child.is_running


@pytest.mark.parametrize(
    "said", [b"\0\0\0\5hello", b"\0\0\0\0", b"\xff\xff\xff\xff"], ids=["words", "nothing", "long"]
)
async def test_what_is_no_message_is_an_error_at_once(said: bytes) -> None:
    child = await start(running(ECHO), OPTIONS)
    child.send(said)
    with pytest.raises(ProtocolError):
        await child.receive()
    child.kill()
    assert not (await child.end()).was_killed, "nobody else has killed it"
    child.kill()  # once more is no error


async def test_closing_it_ends_the_process() -> None:
    child = await start(running(ECHO), OPTIONS)
    child.hang_up()
    assert await end(child.process) == 0
    await child.end()


async def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pool.child.STOP_SECONDS", 0.01)
    child = await start(running("import time; time.sleep(600)"), OPTIONS)
    child.hang_up()
    assert await end(child.process) == -9
    await child.end()


async def test_a_start_without_enough_files_leaves_none_open() -> None:
    await let_go(await start(running(ECHO), OPTIONS))  # a loop keeps some for the next process
    before, refused = open_files(), 0
    child: Child | None = None
    while child is None:
        with room_for_files(refused), contextlib.suppress(OSError):
            child = await start(running(ECHO), OPTIONS)
        if child is None:
            await asyncio.sleep(0.05)
            assert open_files() == before, f"with room for {refused} files"
            refused += 1
    await let_go(child)
    assert refused == FILES


async def let_go(child: Child) -> None:
    child.hang_up()
    await child.end()
    await asyncio.sleep(0.05)  # the loop closes its side at its next turn


async def test_a_program_that_is_not_there_leaves_no_file_open() -> None:
    with pytest.raises(FileNotFoundError):
        await start(["/no/such/program"], OPTIONS)
    await asyncio.sleep(0.05)
    before = open_files()
    with pytest.raises(FileNotFoundError):
        await start(["/no/such/program"], OPTIONS)
    await asyncio.sleep(0.05)
    assert open_files() == before


WRITES_AND_WAITS = """
import os, socket, sys
from app.wire.flight_recorder import FlightRecorder, Place

FlightRecorder(int(sys.argv[2])).write(7, [Place("job", 4, 2)])
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(bytes([0, 0, 0, 0]))
connection.recv(1)
"""


async def test_its_death_tells_where_its_jobs_were_and_who_killed_it() -> None:
    child = await start(running(WRITES_AND_WAITS), OPTIONS)
    await child.reader.readexactly(4)
    assert (child.oldest, child.is_running) == (7, True)
    os.kill(child.pid, signal.SIGKILL)
    assert await child.end() == Death([Place("job", 4, 2)], was_killed=True)
