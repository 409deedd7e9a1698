"""An engine process runs jobs, and what it leaves undone the next one does. It is a real child
process: the fake engine, or a script that says what the test gives it.
"""

import asyncio
import dataclasses
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from app.pool import engine_jobs
from app.wire.messages import (
    Cancel,
    Counts,
    Done,
    Failed,
    Finished,
    Frame,
    Limited,
    Pause,
    Starting,
    Submit,
)
from tests.app.pool.engine_processes import (
    FRAME_BYTES,
    KEY,
    LOAD,
    LOADED,
    Told,
    fake,
    heard,
    job,
    kill,
    pictures,
    read,
    script,
    started,
    submitted,
    unstarted,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("impatient")]


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
