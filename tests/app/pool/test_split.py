"""The parts of a request are read as one; how they are made and given out, test_pool.py says."""

import asyncio

import pytest

from app.pool import engine_jobs
from app.pool.engine_jobs import EngineJobs
from app.pool.errors import NotReady
from app.pool.inflight import InFlight
from app.pool.split import Split
from app.wire.messages import Frame, Message, Pause, Submit


def part(job_id: str, jobs: EngineJobs) -> InFlight:
    submit = Submit(job_id, "m#1", 1, (0, 1), None, "ddim", 10, shown=(0,))
    inflight = InFlight(submit, None, None, lambda *_: None, parts=2)
    jobs.submit(inflight)
    return inflight


def test_what_waits_for_the_reader_is_bounded_for_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_jobs, "HIGH_WATER", 1000)
    monkeypatch.setattr(engine_jobs, "LOW_WATER", 500)
    told: list[Message] = []
    jobs = EngineJobs({"m#1"}, told.append, lambda: None)
    parts = [part("a.0", jobs), part("a.1", jobs)]
    whole = Split("a", parts)
    jobs.accept(Frame("a.0", 0, 0, b"0" * 400, b"0" * 50))
    assert [part.is_paused for part in parts] == [True, False], "at half of the bound"
    assert asyncio.run(anext(whole)) == Frame("a", 0, 0, b"0" * 400, b"0" * 50)
    assert told[2:] == [Pause("a.0", True), Pause("a.0", False)]


def test_it_ends_when_a_part_is_refused() -> None:
    jobs = EngineJobs({"m#1"}, lambda _: None, lambda: None)
    with Split("a", [part("a.0", jobs), part("a.1", jobs)]) as whole:
        jobs.refuse("m#1", "it is gone")
        with pytest.raises(NotReady, match="^it is gone$"):
            asyncio.run(anext(whole))
    assert jobs.inflight == {}
