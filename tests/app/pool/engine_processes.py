"""Engine processes for tests: the fake engine, or a script that says what the test gives it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from app.pool.child import COMMAND, on_this_machine
from app.pool.engine_process import EngineProcess
from app.pool.inflight import InFlight
from app.wire.codec import HEADER, decode, encode
from app.wire.messages import Event, Finished, Frame, Load, Loaded, Message, Submit, Unusable
from app.wire.options import Options
from tests.model_info import MODEL

OPTIONS = Options("cpu", "auto", threads=1)
KEY = "m#1"
LOAD = Load(KEY, "mnist", "m", max_batch=8)
LOADED = Loaded(KEY, MODEL, 1.0, 1000)
FRAME_BYTES = 2 * 4 * 28 * 28 + 100
WAIT_SECONDS = 60.0
"""When a test that waits in vain fails."""

SCRIPT = """
import os, socket, sys
from pathlib import Path
from app.wire.flight_recorder import FlightRecorder, Place

first, then = (Path(name).read_bytes() for name in sys.argv[1:3])
connection = socket.socket(fileno=int(sys.argv[3]))
heard = Path(sys.argv[1]).with_name("heard").open("ab", buffering=0)
heard.write(connection.recv(1 << 16))
connection.sendall(first)
while received := connection.recv(1 << 16):
    heard.write(received)
    if then:
        FlightRecorder(int(sys.argv[4])).write(1, [Place("job", 4, 2)])
        connection.sendall(then)
        os._exit(1)
"""
"""An engine that says the first messages when it is told to load, and notes what it hears. If there
are others, it says these when it gets a job, and dies at the third step of sample 4."""


class Told:
    """What an engine process tells those who have started it."""

    def __init__(self) -> None:
        self.unusable: list[str] = []
        self.loaded: list[Loaded] = []
        self.rejected: list[Unusable] = []
        self.are_deadly = False
        self.deaths = 0

    def on_loaded(self, loaded: Loaded) -> None:
        self.loaded.append(loaded)

    def on_unusable(self, unusable: Unusable, *, is_deadly: bool = False) -> None:
        self.are_deadly = is_deadly
        self.rejected.append(unusable)

    def on_death(self) -> None:
        self.deaths += 1


Started = tuple[EngineProcess, Told]


def unstarted(
    told: Told, command: Sequence[str] = COMMAND, hang_seconds: float = 60.0
) -> EngineProcess:
    connect = on_this_machine(OPTIONS, command)
    return EngineProcess("0", "device: cpu", connect, hang_seconds, told.unusable.append, told)


@asynccontextmanager
async def started(
    command: Sequence[str], hang_seconds: float = 600.0, load: Load = LOAD
) -> AsyncIterator[Started]:
    told = Told()
    engine = unstarted(told, command, hang_seconds)
    engine.load(load)
    engine.start()
    try:
        yield engine, told
    finally:
        await engine.stop()


def fake(step_seconds: float = 0.002, load_seconds: float = 0.0) -> list[str]:
    return [sys.executable, "-m", "tests.fake_engine", f"{step_seconds}:{load_seconds}"]


def script(folder: Path, *first: Message, then: Sequence[Message] = ()) -> list[str]:
    files = [folder / "first", folder / "then"]
    for file, messages in zip(files, (first, then), strict=True):
        file.with_suffix(".new").write_bytes(b"".join(map(encode, messages)))
        file.with_suffix(".new").replace(file)  # an engine that starts now reads all or nothing
    return [sys.executable, "-c", SCRIPT, *map(str, files)]


def heard(folder: Path) -> list[Message]:
    """What a script was told."""
    file, messages = folder / "heard", []
    wire = file.read_bytes() if file.exists() else b""
    while wire:
        (size,) = HEADER.unpack_from(wire)
        messages.append(decode(wire[HEADER.size : HEADER.size + size]))
        wire = wire[HEADER.size + size :]
    return messages


def loads(folder: Path) -> list[Load]:
    """What a script was told to load."""
    return [message for message in heard(folder) if isinstance(message, Load)]


def kill(engine: EngineProcess, by: signal.Signals = signal.SIGKILL) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, by)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.005)


def submitted(engine: EngineProcess, submit: Submit) -> InFlight:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    inflight = InFlight(submit, deadline, None, lambda *_: None)
    engine.submit(inflight)
    return inflight


async def read(inflight: InFlight) -> list[Event]:
    with inflight:
        return [event async for event in inflight]


def pictures(events: Sequence[Event]) -> dict[tuple[int, int | None], tuple[bytes, ...]]:
    """What was sent of each sample at each position, None for its end; nothing is there twice."""
    found: dict[tuple[int, int | None], tuple[bytes, ...]] = {}
    for event in events:
        match event:
            case Frame(_, index, position, x_t, x_0_hat):
                assert (index, position) not in found
                found[index, position] = x_t, x_0_hat
            case Finished(_, index, x_0):
                assert (index, None) not in found
                found[index, None] = (x_0,)
    return found


def job(job_id: str, n: int, steps: int, shown: Sequence[int] = ()) -> Submit:
    return Submit(job_id, KEY, 1, tuple(range(n)), None, "ddim", steps, shown=tuple(shown))
