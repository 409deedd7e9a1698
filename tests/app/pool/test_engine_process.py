"""An engine process is started, watched and started again. It is a real child process: the fake
engine, or a script that says what the test gives it.
"""

import asyncio
import dataclasses
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.pool import engine_process as module
from app.pool.child import Child
from app.pool.engine_process import EngineProcess
from app.pool.inflight import InFlight
from app.wire.messages import (
    HEADER,
    MAX_BYTES,
    Cancel,
    Counts,
    Done,
    Event,
    Failed,
    Finished,
    Frame,
    Limited,
    Message,
    ModelInfo,
    Pause,
    Ready,
    Starting,
    Submit,
    Unusable,
    decode,
    encode,
)
from app.wire.options import AUTO, Options
from tests.model_info import MODEL

pytestmark = pytest.mark.anyio

OPTIONS = Options("mnist", "cpu", "auto", threads=1, max_batch=8)
FRAME_BYTES = 2 * 4 * 28 * 28 + 100
WAIT_SECONDS = 60.0
"""When a test that waits in vain fails."""

SCRIPT = """
import os, socket, sys
from pathlib import Path
from app.wire.flight_recorder import FlightRecorder, Place

first, then = (Path(name).read_bytes() for name in sys.argv[1:3])
connection = socket.socket(fileno=int(sys.argv[3]))
connection.sendall(first)
if b"Unusable" in first:
    os._exit(1)
heard = Path(sys.argv[1]).with_name("heard").open("ab", buffering=0)
while received := connection.recv(1 << 16):
    heard.write(received)
    if then:
        FlightRecorder(int(sys.argv[4])).write(1, [Place("job", 4, 2)])
        connection.sendall(then)
        os._exit(1)
"""
"""An engine that says the first messages, and notes what it hears. If there are others, it says
these when it gets a job, and dies at the third step of sample 4."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.05)


class Told:
    """What an engine process tells those who have started it."""

    def __init__(self) -> None:
        self.unusable: list[str] = []
        self.ready = 0

    def count_ready(self) -> None:
        self.ready += 1


Started = tuple[EngineProcess, Told]


@asynccontextmanager
async def started(
    command: Sequence[str], hang_seconds: float = 600.0, options: Options = OPTIONS
) -> AsyncIterator[Started]:
    told = Told()
    engine = EngineProcess(options, hang_seconds, told.unusable.append, told.count_ready, command)
    engine.start()
    try:
        yield engine, told
    finally:
        await engine.stop()


def fake(step_seconds: float = 0.002) -> list[str]:
    return [sys.executable, "-m", "tests.fake_engine", str(step_seconds)]


def script(folder: Path, *first: Message, then: Sequence[Message] = ()) -> list[str]:
    files = [folder / "first", folder / "then"]
    for file, messages in zip(files, (first, then), strict=True):
        file.with_suffix(".new").write_bytes(b"".join(map(encode, messages)))
        file.with_suffix(".new").replace(file)  # an engine that starts now reads all or nothing
    return [sys.executable, "-c", SCRIPT, *map(str, files)]


def heard(folder: Path) -> list[Message]:
    """What a script was told."""
    wire, messages = (folder / "heard").read_bytes(), []
    while wire:
        (size,) = HEADER.unpack_from(wire)
        messages.append(decode(wire[HEADER.size : HEADER.size + size]))
        wire = wire[HEADER.size + size :]
    return messages


def kill(engine: EngineProcess, by: signal.Signals = signal.SIGKILL) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, by)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.005)


def submitted(engine: EngineProcess, submit: Submit) -> InFlight:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    inflight = InFlight(submit, deadline, engine, lambda *_: None)
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
    return Submit(job_id, 1, tuple(range(n)), None, "ddim", steps, shown=tuple(shown))


async def test_it_becomes_ready_runs_a_job_and_ends_when_it_is_stopped() -> None:
    async with started(fake()) as (engine, told):
        assert (engine.status, engine.max_batch, told.ready) == ("starting", 8, 0)
        await until(lambda: engine.is_ready)
        assert told.ready == 1
        assert engine.model is not None and engine.model.image_shape == (1, 28, 28)
        inflight = submitted(engine, job("a", n=2, steps=3, shown=(0, 2)))
        assert engine.backlog == 6
        events = await read(inflight)
        assert set(pictures(events)) == {(i, p) for i in (0, 1) for p in (0, 2, None)}
        assert isinstance(events[-1], Done)
        assert (engine.backlog, engine.inflight) == (0, {})
        await until(lambda: engine.counts)  # the fake tells them when it is idle
        assert (engine.counts[4].steps, engine.counts[4].rows) == (3, 6)
        pid = engine.pid
    assert engine.status == "stopped"
    assert not Path(f"/proc/{pid}").exists()
    assert (engine.restarts, engine.hangs, told.unusable) == (0, 0, [])


async def test_what_it_does_while_it_starts_is_its_state_and_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = [Starting("measuring, round", k, 3) for k in (1, 2, 3)]
    with caplog.at_level(logging.INFO, "ddpm.engine"):
        async with started(script(tmp_path, Starting("loading"), *rounds)) as (engine, _):
            assert engine.state == "starting"
            await until(lambda: engine.starting == rounds[-1])
            assert engine.state == "starting: measuring, round 3 of 3"
            said = [f"engine {engine.pid}{end}" for end in (
                " is starting; device: cpu", ": loading", ": measuring, round 1 of 3",
            )]  # fmt: skip
    assert [record.message for record in caplog.records] == said, "each step once"


async def test_once_it_is_ready_it_starts_no_more(tmp_path: Path) -> None:
    async with started(script(tmp_path, Starting("loading"), Ready(MODEL))) as (engine, _):
        await until(lambda: engine.is_ready)
        assert engine.state == "ready"
        script(tmp_path, Starting("loading"))
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
        assert (engine.restarts, engine.hangs, told.ready) == (1, 0, 2)


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
        assert told.ready == engine.restarts + 1


async def test_an_engine_that_has_nothing_to_do_does_not_hang(tmp_path: Path) -> None:
    async with started(script(tmp_path, Ready(MODEL)), hang_seconds=0.1) as (engine, _):
        await until(lambda: engine.is_ready)
        await asyncio.sleep(0.4)
        assert (engine.hangs, engine.is_ready) == (0, True)


async def test_a_reader_that_lags_pauses_its_job_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HIGH_WATER", 10 * FRAME_BYTES)
    monkeypatch.setattr(module, "LOW_WATER", 2 * FRAME_BYTES)
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
    async with started(script(tmp_path, Ready(MODEL))) as (engine, _):
        await until(lambda: engine.is_ready)
        submit = job("a", n=8, steps=10)
        with submitted(engine, submit):
            await until((tmp_path / "heard").exists)
            assert engine.backlog == 80
        assert engine.backlog == 0
    assert heard(tmp_path) == [submit, Cancel("a")]


async def test_the_next_process_is_told_of_a_job_that_waits_for_its_reader(tmp_path: Path) -> None:
    async with started(script(tmp_path, Ready(MODEL))) as (engine, _):
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
    command = script(tmp_path, Unusable("there is no such checkpoint"))
    async with started(command) as (engine, told):
        await until(lambda: told.unusable)
        assert told.unusable == ["there is no such checkpoint"]
        assert (engine.status, engine.restarts, engine.model) == ("unusable", 0, None)


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
            patch.setattr(module, "start", refused)
            kill(engine)
            await until(lambda: tries >= 3)
            assert (engine.state, engine.restarts, told.unusable) == ("restarting", 1, [])
        assert len(pictures(await read(inflight))) == 2, "what was in flight is done by the next"
        assert (engine.restarts, told.ready) == (1, 2)
    said = [line.message for line in caplog.records if "can be started" in line.message]
    assert said[0] == (
        f"no engine process can be started: {str(error) or 'MemoryError()'}; it is tried again"
    )


async def test_pauses_between_failed_starts_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds != module.WATCH_SECONDS:
            pauses.append(seconds)
        await sleep(0.001)

    async def refused(*_: object) -> Child:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "RESTART_SECONDS", (0.0, 1.0, 2.0))
    monkeypatch.setattr(asyncio, "sleep", noted)
    monkeypatch.setattr(module, "start", refused)
    told = Told()
    engine = EngineProcess(OPTIONS, 60, told.unusable.append, told.count_ready)
    engine.model = MODEL  # as if it had run before
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
    command = script(tmp_path, Ready(MODEL))
    garbage = HEADER.pack(len(WORDS)) + WORDS
    if not was_ready:
        say_then(tmp_path, garbage)
    async with started(command) as (engine, told):
        if was_ready:
            await until(lambda: engine.is_ready)
            say_then(tmp_path, garbage, Starting("loading"))
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
    command = script(tmp_path, Ready(MODEL))
    say_then(tmp_path, garbage, Ready(MODEL))
    async with started(command) as (engine, told):
        await until(lambda: engine.pid)
        first = engine.pid
        submitted(engine, job("a", n=1, steps=1))
        await until(lambda: "sent what this server cannot read" in caplog.text)
        script(tmp_path, Ready(MODEL))
        await until(lambda: engine.is_ready and engine.pid != first)
        await until(lambda: (tmp_path / "heard").exists() and heard(tmp_path))
        assert told.unusable == []
        assert engine.backlog == 1
    assert not Path(f"/proc/{first}").exists()
    assert f"engine {first} died with" in caplog.text


async def test_an_engine_that_is_killed_at_its_first_start_has_two_more_tries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the memory is short at this moment."""
    async with started(script(tmp_path, Starting("loading"))) as (engine, told):
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
    async with started(script(tmp_path, Starting("loading"))) as (engine, told):
        await until(lambda: engine.starting)
        script(tmp_path, Ready(MODEL))
        kill(engine)
        await until(lambda: engine.is_ready)
        assert (told.unusable, told.ready, engine.restarts) == ([], 1, 1)


async def test_one_that_has_run_before_is_tried_again_whatever_it_says(tmp_path: Path) -> None:
    async with started(script(tmp_path, Ready(MODEL))) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, Unusable("the disk is away"))
        kill(engine)
        await until(lambda: engine.restarts >= 2)
        script(tmp_path, Ready(MODEL))
        await until(lambda: engine.is_ready)
        assert told.unusable == []


async def test_other_weights_after_a_death_are_refused(tmp_path: Path) -> None:
    async with started(script(tmp_path, Ready(MODEL))) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, Ready(dataclasses.replace(MODEL, sha256="1")))
        kill(engine)
        await until(lambda: told.unusable)
        assert told.unusable == [
            "the checkpoint's weights have changed on disk; restart the server"
        ]
        assert engine.status == "unusable"


@pytest.mark.parametrize(
    ("change", "other"),
    [
        (
            "the checkpoint's configuration has changed on disk",
            dataclasses.replace(MODEL, fingerprint="1"),
        ),
        ("the runtime has changed", dataclasses.replace(MODEL, runtime="openvino")),
    ],
)
async def test_the_same_weights_used_otherwise_are_refused_too(
    change: str, other: ModelInfo, tmp_path: Path
) -> None:
    async with started(script(tmp_path, Ready(MODEL))) as (engine, told):
        await until(lambda: engine.is_ready)
        script(tmp_path, Ready(other))
        kill(engine)
        await until(lambda: told.unusable)
        assert told.unusable == [f"{change}; restart the server"]


async def test_where_only_the_word_done_was_lost_the_job_is_done(tmp_path: Path) -> None:
    command = script(tmp_path, Ready(MODEL), then=[Finished("job", 4, b"1234")])
    async with started(command) as (engine, _):
        submit = dataclasses.replace(job("job", n=1, steps=3), indices=(4,))
        events = await read(submitted(engine, submit))
        assert events == [Finished("job", 4, b"1234"), Done("job", 0.0, 0.0)]
        assert engine.inflight == {}


async def test_a_job_of_which_engines_die_again_and_again_fails(tmp_path: Path) -> None:
    frame = Frame("job", 4, 0, b"12", b"34")
    async with started(script(tmp_path, Ready(MODEL), then=[frame])) as (engine, _):
        submit = dataclasses.replace(job("job", n=1, steps=3, shown=(0,)), indices=(4,))
        first, last = await read(submitted(engine, submit))
        assert first == frame
        assert isinstance(last, Failed)
        assert last.reason.startswith("the engine died 2 times while running it")
        assert last.reason.endswith("at step 3 of sample 4")
        await until(lambda: engine.is_ready)
        assert engine.restarts == 2


async def test_memory_that_ran_out_makes_the_batches_smaller_for_good(tmp_path: Path) -> None:
    async with started(script(tmp_path, Ready(MODEL), Limited(4))) as (engine, _):
        await until(lambda: engine.memory_limits)
        assert engine.max_batch == 4
        assert engine.options == dataclasses.replace(OPTIONS, max_batch=4), "for the next process"


async def test_what_an_engine_chooses_as_its_largest_batch_the_next_process_has_too(
    tmp_path: Path,
) -> None:
    options = dataclasses.replace(OPTIONS, max_batch=AUTO)
    async with started(script(tmp_path, Ready(MODEL)), options=options) as (engine, _):
        assert engine.max_batch == 0, "not yet"
        await until(lambda: engine.is_ready)
        assert engine.max_batch == engine.options.max_batch == MODEL.batch_sizes[-1]


async def test_counts_are_added_up_by_batch_size(tmp_path: Path) -> None:
    said = (Counts(4, 1, 3, 0.5), Counts(8, 1, 8, 1.0), Counts(4, 2, 8, 0.25))
    async with started(script(tmp_path, Ready(MODEL), *said, Limited(8))) as (engine, _):
        await until(lambda: engine.memory_limits)  # the last message
        assert engine.counts == {4: Counts(4, 3, 11, 0.75), 8: Counts(8, 1, 8, 1.0)}


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
    engine = EngineProcess(OPTIONS, 60, told.unusable.append, told.count_ready)
    engine.start()
    while not made:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    await engine.stop()
    assert [end.fileno() for end in made] == [-1, -1]
