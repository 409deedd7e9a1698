"""An engine process is started, watched and started again. It is a real child process: the fake
engine, or a script that says what the test gives it.
"""

import asyncio
import dataclasses
import errno
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.pool import child, engine_jobs, starts, watchdog
from app.pool.child import COMMAND, Child, on_this_machine
from app.pool.engine_process import EngineProcess
from app.pool.errors import NotReady
from app.pool.inflight import InFlight
from app.wire.codec import HEADER, MAX_BYTES, decode, encode
from app.wire.messages import (
    Cancel,
    Counts,
    Done,
    Event,
    Failed,
    Finished,
    Frame,
    Limited,
    Load,
    Loaded,
    Message,
    ModelInfo,
    Pause,
    Starting,
    Submit,
    Unload,
    Unusable,
)
from app.wire.options import AUTO, Options
from tests.model_info import MODEL
from tests.tiny import save_tiny

pytestmark = pytest.mark.anyio

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


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(watchdog, "WATCH_SECONDS", 0.05)


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


async def test_it_becomes_ready_runs_a_job_and_ends_when_it_is_stopped() -> None:
    async with started(fake()) as (engine, told):
        assert (engine.status, engine.max_batch, told.loaded) == ("starting", {}, [])
        await until(lambda: engine.is_ready)
        assert [loaded.info.image_shape for loaded in told.loaded] == [(1, 28, 28)]
        assert engine.max_batch == {"m": 8}
        inflight = submitted(engine, job("a", n=2, steps=3, shown=(0, 2)))
        assert engine.backlog == 6
        events = await read(inflight)
        assert set(pictures(events)) == {(i, p) for i in (0, 1) for p in (0, 2, None)}
        assert isinstance(events[-1], Done)
        assert (engine.backlog, engine.inflight) == (0, {})
        await until(lambda: engine.counts)  # the fake tells them when it is idle
        assert (engine.counts["m", 4].steps, engine.counts["m", 4].rows) == (3, 6)
        pid = engine.pid
    assert engine.status == "stopped"
    assert not Path(f"/proc/{pid}").exists()
    assert (engine.restarts, engine.hangs, told.unusable) == (0, 0, [])


async def test_what_it_does_while_it_starts_is_its_state_and_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = [Starting(KEY, "measuring, round", k, 3) for k in (1, 2, 3)]
    with caplog.at_level(logging.INFO, "ddpm.engine"):
        async with started(script(tmp_path, Starting(KEY, "loading"), *rounds)) as (engine, _):
            assert engine.state == "starting"
            await until(lambda: engine.starting == rounds[-1])
            assert engine.state == "starting: measuring, round 3 of 3"
            said = [f"engine {engine.pid}{end}" for end in (
                " is starting; device: cpu", ": m: loading", ": m: measuring, round 1 of 3",
            )]  # fmt: skip
    assert [record.message for record in caplog.records] == said, "each step once"


async def test_once_it_is_ready_it_starts_no_more(tmp_path: Path) -> None:
    async with started(script(tmp_path, Starting(KEY, "loading"), LOADED)) as (engine, _):
        await until(lambda: engine.is_ready)
        assert engine.state == "ready"
        script(tmp_path, Starting(KEY, "loading"))
        kill(engine)
        await until(lambda: engine.starting)
        assert engine.state == "restarting: loading"


async def test_a_signal_to_the_group_of_the_server_does_not_reach_it() -> None:
    async with started(fake()) as (engine, _):
        await until(lambda: engine.is_ready)
        assert engine.pid is not None
        assert os.getpgid(engine.pid) == engine.pid != os.getpgid(0)


async def test_a_job_that_comes_before_it_is_ready_is_run_once_it_is() -> None:
    async with started(fake()) as (engine, _):
        events = await read(submitted(engine, job("a", n=1, steps=2)))
        assert set(pictures(events)) == {(0, None)}


async def test_killed_in_the_middle_it_is_started_again_and_does_what_is_left() -> None:
    asked = job("a", n=12, steps=10, shown=range(10))  # 8 at a time
    async with started(fake()) as (engine, told):
        undisturbed = pictures(await read(submitted(engine, asked)))
        events = []
        with submitted(engine, asked) as inflight:
            async for event in inflight:
                events.append(event)
                if isinstance(event, Finished) and engine.restarts == 0:
                    kill(engine)
                    await until(lambda: engine.restarts)
        assert pictures(events) == undisturbed, "the same bytes, each of them once"
        assert len(undisturbed) == 12 * 11
        assert (engine.restarts, engine.hangs, len(told.loaded)) == (1, 0, 2)


async def test_a_hang_is_noticed_and_the_next_process_does_what_is_left() -> None:
    async with started(fake(), hang_seconds=0.5) as (engine, told):
        await until(lambda: engine.is_ready)
        inflight = submitted(engine, job("a", n=2, steps=50, shown=(0,)))
        await until(lambda: inflight.buffered)
        first = engine.pid
        kill(engine, signal.SIGSTOP)
        assert set(pictures(await read(inflight))) == {(i, p) for i in (0, 1) for p in (0, None)}
        assert engine.hangs >= 1 and engine.restarts == engine.hangs
        assert engine.pid != first
        assert len(told.loaded) == engine.restarts + 1


async def test_an_engine_that_has_nothing_to_do_does_not_hang(tmp_path: Path) -> None:
    async with started(script(tmp_path, LOADED), hang_seconds=0.1) as (engine, _):
        await until(lambda: engine.is_ready)
        await asyncio.sleep(0.4)
        assert (engine.hangs, engine.is_ready) == (0, True)


async def test_a_reader_that_lags_pauses_its_job_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_jobs, "HIGH_WATER", 10 * FRAME_BYTES)
    monkeypatch.setattr(engine_jobs, "LOW_WATER", 2 * FRAME_BYTES)
    async with started(fake()) as (engine, _):
        lagging = submitted(engine, job("a", n=1, steps=200, shown=range(200)))
        await until(lambda: lagging.is_paused)
        await read(submitted(engine, job("b", n=1, steps=2)))  # behind the pause, so it is heeded
        held = lagging.buffered
        await read(submitted(engine, job("c", n=1, steps=5)))
        assert lagging.buffered == held >= 10 * FRAME_BYTES
        assert len(pictures(await read(lagging))) == 201
        assert not lagging.is_paused


async def test_a_job_that_nobody_reads_any_more_is_cancelled(tmp_path: Path) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, _):
        await until(lambda: engine.is_ready)
        submit = job("a", n=8, steps=10)
        with submitted(engine, submit):
            await until(lambda: submit in heard(tmp_path))
            assert engine.backlog == 80
        assert engine.backlog == 0
    assert heard(tmp_path) == [LOAD, submit, Cancel("a")]


async def test_the_next_process_is_told_of_a_job_that_waits_for_its_reader(tmp_path: Path) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, _):
        await until(lambda: engine.is_ready)
        inflight = submitted(engine, job("a", n=2, steps=10))
        inflight.accept(Finished("a", 1, b""))
        inflight.is_paused = True
        kill(engine)
        await until(lambda: engine.restarts == 1 and engine.is_ready)
    *_, left, pause = heard(tmp_path)
    assert isinstance(left, Submit) and left.indices == (0,)
    assert pause == Pause("a", True)


async def test_what_cannot_start_the_first_time_gives_up_with_its_reason(tmp_path: Path) -> None:
    command = script(tmp_path, Unusable(KEY, "there is no such checkpoint"))
    async with started(command) as (engine, told):
        await until(lambda: told.unusable)
        assert told.unusable == ["there is no such checkpoint"]
        assert (engine.status, engine.restarts, told.loaded) == ("unusable", 0, [])


async def test_what_dies_at_its_first_start_gives_up_too() -> None:
    async with started([sys.executable, "-c", ""]) as (engine, told):
        await until(lambda: told.unusable)
        assert told.unusable == ["the engine died while it was starting"]
        assert (engine.status, engine.restarts) == ("unusable", 0)


async def test_what_the_system_cannot_start_the_first_time_gives_up_with_its_reason() -> None:
    async with started(["/no/such/program"]) as (engine, told):
        await until(lambda: told.unusable)
        (reason,) = told.unusable
        assert reason.startswith("no engine process can be started: [Errno 2]")
        assert (engine.status, engine.restarts) == ("unusable", 0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),  # no process is left
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
        RuntimeError("can't start new thread"),
    ],
    ids=repr,
)
async def test_a_start_that_the_system_refuses_is_logged_and_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(fake()) as (engine, told):
        await until(lambda: engine.is_ready)
        inflight = submitted(engine, job("a", n=2, steps=50))
        tries = 0

        async def refused(*_: object) -> Child:
            nonlocal tries
            tries += 1
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(child, "start", refused)
            kill(engine)
            await until(lambda: tries >= 3)
            assert (engine.state, engine.restarts, told.unusable) == ("restarting", 1, [])
        assert len(pictures(await read(inflight))) == 2, "what was in flight is done by the next"
        assert (engine.restarts, len(told.loaded)) == (1, 2)
    said = [line.message for line in caplog.records if "can be started" in line.message]
    assert said[0] == (
        f"no engine process can be started: {str(error) or 'MemoryError()'}; it is tried again"
    )


async def test_pauses_between_failed_starts_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds != watchdog.WATCH_SECONDS:
            pauses.append(seconds)
        await sleep(0.001)

    async def refused(*_: object) -> Child:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(starts, "RESTART_SECONDS", (0.0, 1.0, 2.0))
    monkeypatch.setattr(asyncio, "sleep", noted)
    monkeypatch.setattr(child, "start", refused)
    told = Told()
    engine = unstarted(told)
    engine._starts.has_loaded = True  # as if it had run before
    engine.start()
    while len(pauses) < 5:
        await sleep(0.001)
    await engine.stop()
    assert pauses[:5] == [0.0, 1.0, 2.0, 2.0, 2.0]


def say_then(folder: Path, garbage: bytes, *messages: Message) -> None:
    """Have engines of `script` that start from now on say the messages, and then garbage."""
    script(folder, *messages)
    with (folder / "first").open("ab") as first:
        first.write(garbage)


WORDS = b"not msgpack"


@pytest.mark.parametrize("was_ready", [False, True])
async def test_engines_that_speak_otherwise_than_their_server_end_it(
    tmp_path: Path, was_ready: bool
) -> None:
    """At once where none was ever ready, else at the third start in a row."""
    command = script(tmp_path, LOADED)
    garbage = HEADER.pack(len(WORDS)) + WORDS
    if not was_ready:
        say_then(tmp_path, garbage)
    async with started(command) as (engine, told):
        if was_ready:
            await until(lambda: engine.is_ready)
            say_then(tmp_path, garbage, Starting(KEY, "loading"))
            kill(engine)
        await until(lambda: told.unusable)
        (reason,) = told.unusable
        assert "sent what this server cannot read" in reason
        assert reason.endswith("was the software replaced while it ran? Restart the server")
        assert (engine.status, engine.restarts) == ("unusable", 3 if was_ready else 0)


@pytest.mark.parametrize(
    "garbage",
    [HEADER.pack(len(WORDS)) + WORDS, b"\xff" * 1000, HEADER.pack(MAX_BYTES + 1)],
    ids=["no message", "noise", "too long"],
)
async def test_an_engine_that_sends_garbage_is_killed_and_the_next_does_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    command = script(tmp_path, LOADED)
    say_then(tmp_path, garbage, LOADED)
    async with started(command) as (engine, told):
        await until(lambda: engine.pid)
        first = engine.pid
        submitted(engine, job("a", n=1, steps=1))
        await until(lambda: "sent what this server cannot read" in caplog.text)
        script(tmp_path, LOADED)
        await until(lambda: engine.is_ready and engine.pid != first)
        await until(lambda: any(isinstance(said, Submit) for said in heard(tmp_path)))
        assert told.unusable == []
        assert engine.backlog == 1
    assert not Path(f"/proc/{first}").exists()
    assert f"engine {first} died with" in caplog.text


async def test_an_engine_that_is_killed_at_its_first_start_has_two_more_tries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the memory is short at this moment."""
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, told):
        for restarts in (1, 2):
            await until(lambda: engine.starting)
            kill(engine)
            async with asyncio.timeout(WAIT_SECONDS):
                while engine.restarts < restarts:
                    await asyncio.sleep(0.005)
        await until(lambda: engine.starting)
        kill(engine)
        await until(lambda: told.unusable)
        assert told.unusable == [
            "the engine was killed 3 times while it was starting: is there enough memory?"
        ]
    said = "was killed while it was starting; it is tried again"
    assert len([line for line in caplog.messages if said in line]) == 2


async def test_an_engine_that_was_killed_at_its_first_start_gets_ready_at_the_next(
    tmp_path: Path,
) -> None:
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, told):
        await until(lambda: engine.starting)
        script(tmp_path, LOADED)
        kill(engine)
        await until(lambda: engine.is_ready)
        assert (told.unusable, len(told.loaded), engine.restarts) == ([], 1, 1)


async def test_a_model_that_cannot_be_loaded_again_is_told_and_the_process_goes_on(
    tmp_path: Path,
) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, Unusable(KEY, "the disk is away"))
        inflight = submitted(engine, job("a", n=1, steps=1))
        kill(engine)
        await until(lambda: told.rejected)
        assert told.rejected == [Unusable(KEY, "the disk is away")]
        assert (engine.restarts, told.unusable, engine.loads.wanted) == (1, [], {})
        assert list(engine.inflight) == ["a"], "it waits for what is said of it"
        engine.fail(KEY, "the disk is away for good")
        with pytest.raises(NotReady, match="^the disk is away for good$"):
            await read(inflight)


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("the checkpoint's weights have changed on disk", dataclasses.replace(MODEL, sha256="1")),
        (
            "the checkpoint's configuration has changed on disk",
            dataclasses.replace(MODEL, fingerprint="1"),
        ),
        ("the runtime has changed", dataclasses.replace(MODEL, runtime="openvino")),
    ],
)
async def test_a_model_that_is_another_after_a_death_is_not_used(
    change: str, other: ModelInfo, tmp_path: Path
) -> None:
    async with started(script(tmp_path, LOADED)) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, dataclasses.replace(LOADED, info=other))
        kill(engine)
        await until(lambda: told.rejected)
        assert told.rejected == [Unusable(KEY, change, has_changed=True)]
        assert not engine.serves(KEY)
        await until(lambda: Unload(KEY) in heard(tmp_path))


async def test_a_model_is_loaded_beside_the_steps_of_another_and_serves_then() -> None:
    async with started(fake(load_seconds=0.3)) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.load(Load("c#1", "cifar10", "c"))
        made = pictures(await read(submitted(engine, job("a", n=1, steps=2))))
        assert set(made) == {(0, None)} and not engine.serves("c#1")
        await until(lambda: engine.serves("c#1"))
        other = dataclasses.replace(job("b", n=1, steps=2), model="c#1")
        assert pictures(await read(submitted(engine, other))) != made
        assert [loaded.model for loaded in told.loaded] == [KEY, "c#1"]


async def test_the_next_process_loads_all_models_first_what_jobs_need() -> None:
    async with started(fake(load_seconds=0.1)) as (engine, told):
        engine.load(Load("c#1", "cifar10", "c"))
        await until(lambda: engine.serves("c#1"))
        other = dataclasses.replace(job("b", n=1, steps=100), model="c#1")
        inflight = submitted(engine, other)
        kill(engine)
        assert set(pictures(await read(inflight))) == {(0, None)}
        await until(lambda: len(told.loaded) == 4)
        assert [loaded.model for loaded in told.loaded] == [KEY, "c#1", "c#1", KEY]


async def test_a_model_that_is_unloaded_can_be_loaded_again() -> None:
    async with started(fake()) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.unload(KEY)
        assert not engine.serves(KEY)
        engine.load(LOAD)
        await until(lambda: engine.serves(KEY))
        assert len(told.loaded) == 2
        await read(submitted(engine, job("a", n=1, steps=2)))


async def test_a_load_that_is_not_wanted_any_more_is_undone_when_it_ends(tmp_path: Path) -> None:
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, _):
        await until(lambda: engine.starting)
        engine.unload(KEY)
        engine._handle(LOADED)
        await until(lambda: Unload(KEY) in heard(tmp_path))
        assert not engine.serves(KEY)


@pytest.mark.slow
async def test_a_load_that_kills_the_engine_again_and_again_is_given_up_and_others_go_on(
    tmp_path: Path,
) -> None:
    killer = save_tiny(tmp_path / "killer")
    card = killer / "model_card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "data": "crash"}))
    async with started(fake(load_seconds=0.1)) as (engine, told):
        await until(lambda: engine.serves(KEY))
        engine.load(Load("killer#1", str(killer), "killer"))
        events = await read(submitted(engine, job("a", n=8, steps=300)))
        assert isinstance(events[-1], Done), "the job that ran beside it is not blamed"
        await until(lambda: told.rejected)
        reason = "the engine died 3 times while it was loading it"
        assert told.rejected == [Unusable("killer#1", reason)] and told.are_deadly
        assert (engine.restarts, told.deaths, told.unusable) == (3, 3, [])
        await until(lambda: engine.serves(KEY))


async def test_a_load_that_hangs_is_killed_by_a_clock_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "START_SECONDS", 0.5)
    async with started(fake(load_seconds=600.0), hang_seconds=600.0) as (engine, _):
        await until(lambda: engine.hangs)


async def test_where_only_the_word_done_was_lost_the_job_is_done(tmp_path: Path) -> None:
    command = script(tmp_path, LOADED, then=[Finished("job", 4, b"1234")])
    async with started(command) as (engine, _):
        submit = dataclasses.replace(job("job", n=1, steps=3), indices=(4,))
        events = await read(submitted(engine, submit))
        assert events == [Finished("job", 4, b"1234"), Done("job", 0.0, 0.0)]
        assert engine.inflight == {}


async def test_a_job_of_which_engines_die_again_and_again_fails(tmp_path: Path) -> None:
    frame = Frame("job", 4, 0, b"12", b"34")
    async with started(script(tmp_path, LOADED, then=[frame])) as (engine, _):
        submit = dataclasses.replace(job("job", n=1, steps=3, shown=(0,)), indices=(4,))
        first, last = await read(submitted(engine, submit))
        assert first == frame
        assert isinstance(last, Failed)
        assert last.reason.startswith("the engine died 2 times while running it")
        assert last.reason.endswith("at step 3 of sample 4")
        await until(lambda: engine.is_ready)
        assert engine.restarts == 2


async def test_memory_that_ran_out_makes_the_batches_smaller_for_good(tmp_path: Path) -> None:
    async with started(script(tmp_path, LOADED, Limited(KEY, 4))) as (engine, _):
        await until(lambda: engine.memory_limits)
        assert engine.max_batch == {"m": 4}
        assert engine.loads.wanted[KEY].max_batch == 4, "for the next process"


async def test_what_an_engine_chooses_as_its_largest_batch_the_next_process_has_too(
    tmp_path: Path,
) -> None:
    load = dataclasses.replace(LOAD, max_batch=AUTO)
    async with started(script(tmp_path, LOADED), load=load) as (engine, _):
        await until(lambda: engine.is_ready)
        kill(engine)
        await until(lambda: engine.restarts and engine.is_ready)
    assert [load.max_batch for load in loads(tmp_path)] == [AUTO, MODEL.batch_sizes[-1]]


async def test_counts_are_added_up_by_model_and_batch_size(tmp_path: Path) -> None:
    said = (Counts(KEY, 4, 1, 3, 0.5), Counts(KEY, 8, 1, 8, 1.0), Counts("m#2", 4, 2, 8, 0.25))
    async with started(script(tmp_path, LOADED, *said, Limited(KEY, 8))) as (engine, _):
        await until(lambda: engine.memory_limits)  # the last message
        assert engine.counts == {
            ("m", 4): Counts("m#2", 4, 3, 11, 0.75), ("m", 8): Counts(KEY, 8, 1, 8, 1.0)
        }  # fmt: skip


async def test_a_death_is_logged_with_the_requests_in_flight(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with started(fake(step_seconds=600.0)) as (engine, _):
        await until(lambda: engine.is_ready)
        for name in ("second", "first"):
            submitted(engine, dataclasses.replace(job(name, n=1, steps=1), request_id=name))
        with caplog.at_level(logging.ERROR):
            kill(engine)
            await until(lambda: engine.restarts)
    (record,) = [record for record in caplog.records if "died" in record.message]
    assert record.message.endswith("died with 2 jobs in flight")
    assert vars(record)["requests"] == ["first", "second"]


async def test_an_engine_that_is_stopped_while_it_starts_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    pair = socket.socketpair

    def socketpair() -> tuple[socket.socket, socket.socket]:
        made.extend(pair())
        return made[-2], made[-1]

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("app.pool.child.socket.socketpair", socketpair)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", never)
    told = Told()
    engine = unstarted(told)
    engine.start()
    while not made:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    await engine.stop()
    assert [end.fileno() for end in made] == [-1, -1]
