"""The jobs of an engine: its process is told of those whose models it has."""

import asyncio
from dataclasses import replace

import pytest

from app.pool.engine_jobs import EngineJobs
from app.pool.errors import NotReady
from app.pool.inflight import InFlight
from app.pool.makers import maker
from app.wire.flight_recorder import Place
from app.wire.messages import Cancel, Done, Finished, Message, Pause, Submit
from tests.model_info import MODEL


class Jobs(EngineJobs):
    """Jobs of a process that has the model `a`, and what it was told."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.ends = 0
        self.loaded = {"a#1"}
        super().__init__(self.loaded, self.told.append, self.end)

    def end(self) -> None:
        self.ends += 1

    def add(self, job_id: str, model: str, made_by: str | None = None) -> InFlight:
        submit = Submit(job_id, model, 1, (0, 1), None, "ddim", 10, made_by=made_by)
        inflight = InFlight(submit, None, None, lambda *_: None)
        self.submit(inflight)
        return inflight


def test_a_job_is_told_when_its_model_is_there() -> None:
    jobs = Jobs()
    first, second = jobs.add("first", "a#1"), jobs.add("second", "b#2")
    assert jobs.told == [first.submit]
    second.is_paused = True
    jobs.loaded.add("b#2")
    jobs.resume("b#2", MODEL)
    left, pause = jobs.told[1:]
    assert isinstance(left, Submit) and (left.id, left.model) == ("second", "b#2")
    assert pause == Pause("second", True)


def test_a_job_that_another_kind_of_machine_must_make_is_refused() -> None:
    jobs = Jobs()
    bound = jobs.add("bound", "b#2", made_by=maker(MODEL))
    jobs.loaded.add("b#2")
    jobs.resume("b#2", replace(MODEL, machine="another"))
    assert (jobs.told, jobs.inflight) == ([Cancel("bound")], {})
    with pytest.raises(NotReady, match="^no engine is of the kind of machine that began it"):
        asyncio.run(anext(bound))


def test_there_is_work_while_a_step_can_be_taken() -> None:
    jobs = Jobs()
    jobs.add("waits", "b#2")
    assert not jobs.have_work
    runs = jobs.add("runs", "a#1")
    assert jobs.have_work
    runs.is_paused = True
    assert not jobs.have_work


def test_what_ends_or_is_left_is_over() -> None:
    jobs = Jobs()
    jobs.add("a", "a#1")
    left = jobs.add("b", "a#1")
    waiting = jobs.add("c", "b#2")
    jobs.accept(Done("a", 0.0, 0.0))
    jobs.release(left)
    jobs.release(waiting)
    jobs.release(left)
    assert (jobs.inflight, jobs.ends) == ({}, 3)
    assert Cancel("b") in jobs.told and Cancel("c") not in jobs.told, "nobody told it of c"
    jobs.accept(Finished("a", 0, b""))  # late


def test_the_jobs_of_a_model_are_refused_and_no_others() -> None:
    jobs = Jobs()
    other, refused = jobs.add("other", "b#2"), jobs.add("refused", "a#1")
    jobs.refuse("a#1", "it is gone")
    assert jobs.inflight == {"other": other}

    async def read() -> None:
        async for _ in refused:
            pass

    with pytest.raises(NotReady, match="^it is gone$"):
        asyncio.run(read())


def test_a_job_of_which_only_the_last_word_was_lost_ends_with_its_process() -> None:
    jobs = Jobs()
    done, goes_on = jobs.add("done", "a#1"), jobs.add("goes on", "a#1")
    for index in (0, 1):
        done.accept(Finished("done", index, b""))
    jobs.outlive({"goes on": Place("goes on", 0, 3)}, was_killed=True)
    assert jobs.inflight == {"goes on": goes_on}
