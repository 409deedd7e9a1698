"""The engine on a runtime that runs two batches at once: the same bytes, and nobody in the way."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from app.engine.batch import Batch
from app.engine.runner import NetworkCall
from app.wire.flight_recorder import Place
from app.wire.messages import Failed, Limited, Submit
from tests.app.engine.conftest import ROW_FAULTS, Bench, break_for, crash, finished

JOBS = [
    Submit("ddpm", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 50),
    Submit("guided", "", 1, (0, 1, 2), (0, 1, 2), "ddim", 10, guidance=2.5),
    Submit("short", "", 2, (0, 1), (1, 1), "ddpm", 7, client="other"),
    Submit("long", "", 2, tuple(range(8)), (2,) * 8, "dpmpp", 20),
    Submit("eta", "", 2**53 - 1, (2**40,), (3,), "ddim", 10, eta=0.5),
    Submit("one", "", 3, (0,), (0,), "dpmpp", 1),
]


def check(bench: Bench, events: list[Any], jobs: list[Submit]) -> None:
    """Every job has the bytes of the plain loop, and nothing is left behind."""
    for submit in jobs:
        expected = {i: x[-1].tobytes() for i, x in bench.reference(submit).items()}
        assert finished(events, submit.id) == expected, submit.id
    assert not len(bench.runner)
    assert not bench.engine.scheduler.jobs and bench.engine.is_idle


@pytest.mark.slow
def test_jobs_that_join_while_others_run_equal_the_plain_loop(on_lanes: Bench) -> None:
    events: list[Any] = []
    at_once = set()
    for submit in JOBS:
        on_lanes.engine.submit(submit)
        for _ in range(3):
            events += on_lanes.step()
            at_once.add(1 + len(on_lanes.under_way()))
    events += on_lanes.drain()
    assert max(at_once) == 2
    check(on_lanes, events, JOBS)


@pytest.mark.slow
def test_a_job_cancelled_in_the_middle_of_its_step_leaves_nothing_behind(on_lanes: Bench) -> None:
    engine = on_lanes.engine
    gone = Submit("gone", "", 9, (0, 1, 2), (0, 0, 0), "ddpm", 50)
    engine.submit(gone)
    events: list[Any] = on_lanes.step()
    assert any(c.job.id == "gone" for call in on_lanes.under_way() for c in call.batch)
    engine.cancel("gone")
    engine.submit(dataclasses.replace(JOBS[1], id="gone"))  # another of the same name
    engine.submit(JOBS[0])
    events += on_lanes.drain()
    check(on_lanes, events, [JOBS[0], dataclasses.replace(JOBS[1], id="gone")])


@ROW_FAULTS
def test_what_goes_wrong_in_one_row_fails_its_job_and_no_other(
    how: Callable[[torch.Tensor], torch.Tensor], reason: str, on_lanes: Bench
) -> None:
    for submit in (JOBS[0], Submit("broken", "", 1, (65, 66), (0, 1), "ddim", 10), JOBS[3]):
        on_lanes.engine.submit(submit)
    break_for(on_lanes, 66, how)
    events = on_lanes.drain()
    assert [event for event in events if event.id == "broken"] == [Failed("broken", reason)]
    check(on_lanes, events, [JOBS[0], JOBS[3]])


def test_what_fails_on_a_lane_is_done_again_beside_nothing(
    on_lanes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = on_lanes.engine, on_lanes.runner
    for submit in (JOBS[0], JOBS[3]):
        engine.submit(submit)
    first, beside = engine.begin(0), engine.begin(1)
    assert first is not None and beside is not None
    with monkeypatch.context() as patch:
        patch.setattr(runner.runtime.lanes, "run", crash)
        engine.run(first)
    engine.end(0)
    assert engine.take_events() == [] and engine.begin(0) is None
    engine.run(beside)
    engine.end(1)
    again = engine.begin(1)
    assert again is not None and again.lane is None
    assert again.batch.chains == first.batch.chains
    assert engine.begin(0) is None
    engine.run(again)
    engine.end(1)
    events: list[Any] = engine.take_events() + on_lanes.drain()
    check(on_lanes, events, [JOBS[0], JOBS[3]])


def test_out_of_memory_the_step_is_run_in_smaller_batches_to_the_same_bytes(
    on_lanes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = on_lanes.runner
    prepare = runner.prepare

    def scarce(batch: Batch, lane: int | None) -> NetworkCall:
        if batch.rows > 2:
            raise torch.OutOfMemoryError("injected")
        return prepare(batch, lane)

    monkeypatch.setattr(runner, "prepare", scarce)
    for submit in JOBS:
        on_lanes.engine.submit(submit)
    events = on_lanes.drain()
    limits = [event.max_rows for event in events if isinstance(event, Limited)]
    assert limits[-1] == 2
    check(on_lanes, events, JOBS)


def test_before_each_batch_it_tells_where_every_job_is_that_runs(on_lanes: Bench) -> None:
    told: list[Sequence[Place]] = []
    on_lanes.engine.on_step = lambda _oldest, places: told.append(places)
    on_lanes.engine.submit(Submit("a", "", 3, (5,), (0,), "ddim", 2))
    on_lanes.engine.submit(Submit("b", "", 3, (0,), (0,), "ddim", 2))
    on_lanes.drain()
    assert told[0] == [("a", 5, 0)]
    assert sorted(told[1]) == [("a", 5, 0), ("b", 0, 0)]


def test_a_step_that_does_not_end_is_told_whatever_the_other_lane_does(on_lanes: Bench) -> None:
    engine, told = on_lanes.engine, []
    engine.on_step = lambda oldest, _places: told.append(oldest)
    engine.submit(Submit("long", "", 3, tuple(range(8)), (0,) * 8, "ddim", 10))
    hanging = engine.begin(0)
    assert hanging is not None
    for _ in range(3):
        call = engine.begin(1)
        assert call is not None
        engine.run(call)
        engine.end(1)
    assert told == [1, 1, 1, 1]
    engine.run(hanging)
    engine.end(0)
    on_lanes.drain()
    assert told[4:] == sorted(told[4:]) and told[4] > 1


def test_a_job_that_is_alone_runs_beside_nothing(on_lanes: Bench) -> None:
    told: list[set[str]] = []
    on_lanes.engine.on_step = lambda _oldest, places: told.append({place.job for place in places})
    alone = Submit("alone", "", 4, (0, 1, 2), (0, 1, 2), "ddim", 10, client="c", is_alone=True)
    for submit in (JOBS[0], alone, JOBS[3]):
        on_lanes.engine.submit(submit)
    events = on_lanes.drain()
    assert {"alone"} in told and all(names == {"alone"} for names in told if "alone" in names)
    check(on_lanes, events, [JOBS[0], alone, JOBS[3]])
