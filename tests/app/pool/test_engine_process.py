"""An engine process is started, watched and started again: a child process that is the fake engine,
or one that says what a test gives it.
"""

import asyncio
import dataclasses
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.pool import engine_process as module
from app.pool.engine_process import EngineProcess
from app.pool.inflight import InFlight
from app.wire.messages import (
    Counts,
    Done,
    Event,
    Failed,
    Finished,
    Frame,
    Limited,
    Message,
    ModelInfo,
    Ready,
    Submit,
    Unusable,
    encode,
)
from app.wire.options import Options
from tests.model_info import MODEL

pytestmark = pytest.mark.anyio

OPTIONS = Options("mnist", "cpu", "auto", threads=1, max_batch=8)
IMAGE_BYTES = 4 * 28 * 28
FAR = 60.0
"""Seconds after which a test that waits in vain has failed."""

SCRIPT = """
import os, socket, sys
from pathlib import Path
from app.wire.flight_recorder import FlightRecorder, Place

connection = socket.socket(fileno=int(sys.argv[1]))
first, then = (Path(name).read_bytes() for name in sys.argv[-2:])
connection.sendall(first)
if then:
    connection.recv(1 << 16)  # a job
    FlightRecorder(int(sys.argv[2])).write(1, [Place("job", 4, 2)])
    connection.sendall(then)
    os._exit(1)
while first and connection.recv(1 << 16):
    pass
"""
"""An engine that says some messages; with others to say after it got a job, it says these, and
dies at its third step of sample 4."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)


class Told:
    """What an engine process told those who started it."""

    def __init__(self) -> None:
        self.unusable: list[str] = []
        self.times_ready = 0

    def count_ready(self) -> None:
        self.times_ready += 1


@asynccontextmanager
async def running(
    command: Sequence[str], hang_seconds: float = FAR
) -> AsyncIterator[tuple[EngineProcess, Told]]:
    told = Told()
    engine = EngineProcess(OPTIONS, hang_seconds, told.unusable.append, told.count_ready, command)
    engine.start()
    try:
        yield engine, told
    finally:
        await engine.stop()


def fake(step_seconds: float = 0.002) -> list[str]:
    return [sys.executable, "-m", "tests.fake_engine", str(step_seconds)]


class Scripts:
    """Engines that say what they are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, first: Sequence[Message], then: Sequence[Message] = ()) -> list[str]:
        (self.folder / "engine.py").write_text(SCRIPT)
        runner = "import sys; exec(open(sys.argv.pop(1)).read())"
        for name, messages in (("first", first), ("then", then)):
            (self.folder / name).write_bytes(b"".join(map(encode, messages)))
        files = [str(self.folder / name) for name in ("engine.py", "first", "then")]
        return [sys.executable, "-c", runner, *files]


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(FAR):
        while not is_so():
            await asyncio.sleep(0.005)
