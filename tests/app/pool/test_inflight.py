"""A job in the pool: what its reader gets, and what of it is given to the next engine."""

import asyncio
import dataclasses
from collections import Counter

import pytest

from app.pool.errors import NotReady, TooLate
from app.pool.inflight import MAX_DEATHS, TRIES, TRIES_KILLED, InFlight
from app.wire.flight_recorder import Place
from app.wire.messages import Done, Event, Failed, Finished, Frame, Submit

SUBMIT = Submit("job", "m#1", 1, (4, 5, 6), (0, 1, 2), "ddim", 10, shown=(0, 10))
FRAME = Frame("job", 4, 0, b"1234", b"5678")
DONE = Done("job", 0.0, 1.0)
HERE, THERE = Place("job", 4, 2), Place("job", 5, 0)


class Holder:
    """An engine that notes what it is told."""

    def __init__(self) -> None:
        self.paces: list[int] = []
        self.charged: list[str] = []
        self.released = 0

    def keep_pace(self, inflight: InFlight) -> None:
        self.paces.append(inflight.buffered)

    def charge(self, inflight: InFlight) -> None:
        self.charged.append(inflight.submit.client)

    def release(self, _: InFlight) -> None:
        self.released += 1


def made(deadline: float | None = None) -> tuple[InFlight, Holder, Counter[str]]:
    holder, outcomes = Holder(), Counter[str]()

    def count(outcome: str, samples: int) -> None:
        outcomes[outcome] += samples

    return InFlight(SUBMIT, deadline, holder, count), holder, outcomes


async def read(inflight: InFlight) -> list[Event]:
    return [event async for event in inflight]


def test_its_reader_gets_the_events_in_order_and_leaving_counts_the_samples() -> None:
    inflight, holder, outcomes = made()
    events: list[Event] = [FRAME, *(Finished("job", i, b"") for i in (4, 5, 6)), DONE]
    with inflight:
        for event in events:
            inflight.accept(event)
        assert asyncio.run(read(inflight)) == events
    assert outcomes == Counter(finished=3, cancelled=0)
    assert holder.released == 1
    assert holder.paces[-1] == inflight.buffered == 0


def test_another_caller_may_pay_for_it() -> None:
    inflight, holder, _ = made()
    inflight.charge("another")
    assert inflight.submit == dataclasses.replace(SUBMIT, client="another")
    assert holder.charged == ["another"]


def test_leaving_early_cancels_what_is_not_finished() -> None:
    inflight, holder, outcomes = made()
    with inflight:
        inflight.accept(Finished("job", 5, b""))
    assert outcomes == Counter(finished=1, cancelled=2)
    assert holder.released == 1


def test_a_failed_job_has_failed_samples() -> None:
    inflight, _, outcomes = made()
    with inflight:
        inflight.accept(Failed("job", "why"))
        assert asyncio.run(read(inflight)) == [Failed("job", "why")]
    assert outcomes == Counter(finished=0, failed=3)


def test_a_frame_that_an_engine_sent_before_it_died_is_not_passed_on_again() -> None:
    inflight, _, _ = made()
    for event in (FRAME, FRAME, DONE):
        inflight.accept(event)
    assert asyncio.run(read(inflight)) == [FRAME, DONE]


def test_a_job_that_is_not_done_at_its_deadline_is_too_late() -> None:
    async def run() -> None:
        inflight, _, _ = made(deadline=asyncio.get_running_loop().time())
        inflight.accept(Finished("job", 5, b""))
        with pytest.raises(TooLate, match="only 1 of 3 samples"):
            await read(inflight)
            await read(inflight)

    asyncio.run(run())


def test_a_job_that_is_refused_meanwhile_ends_with_the_reason() -> None:
    inflight, _, _ = made()
    inflight.accept(FRAME)
    inflight.refuse(NotReady("shutting down"))
    with pytest.raises(NotReady, match="shutting down"):
        asyncio.run(read(inflight))


def test_the_next_engine_gets_what_is_not_finished_and_knows_how_long_it_has_waited() -> None:
    inflight, _, _ = made()
    inflight.accept(Finished("job", 5, b""))
    inflight.since -= 60.0
    remainder = inflight.remainder()
    assert remainder.waited >= 60.0
    expected = dataclasses.replace(SUBMIT, indices=(4, 6), labels=(0, 2), waited=remainder.waited)
    assert remainder == expected


def test_after_a_death_it_runs_alone_and_fails_when_engines_die_of_it_at_the_same_place() -> None:
    inflight, _, _ = made()
    assert inflight.blame(HERE, was_killed=False) is None
    assert inflight.remainder().is_alone
    for _ in range(TRIES - 2):
        assert inflight.blame(HERE, was_killed=False) is None
    reason = inflight.blame(HERE, was_killed=False)
    assert reason is not None
    assert reason.endswith("the last time at step 3 of sample 4")


def test_an_engine_that_was_killed_says_less_against_the_job() -> None:
    inflight, _, _ = made()
    for _ in range(TRIES_KILLED - 1):
        assert inflight.blame(HERE, was_killed=True) is None
    assert inflight.blame(HERE, was_killed=True) is not None


def test_deaths_at_many_places_end_it_too() -> None:
    inflight, _, _ = made()
    places = [Place("job", 4, position) for position in range(MAX_DEATHS)]
    reasons = [inflight.blame(place, was_killed=False) for place in places]
    assert reasons[:-1] == [None] * (MAX_DEATHS - 1) and reasons[-1] is not None


def test_with_its_engine_ends_what_is_done_or_to_blame_and_nothing_else() -> None:
    done, _, _ = made()
    for index in SUBMIT.indices:
        done.accept(Finished("job", index, b""))
    assert done.ending({}, was_killed=False) == Done("job", 0.0, 0.0), "only the word was lost"
    other, _, _ = made()
    assert other.ending({"another": HERE}, was_killed=False) is None
    for _ in range(TRIES - 1):
        assert other.ending({"job": HERE}, was_killed=False) is None
    assert isinstance(other.ending({"job": HERE}, was_killed=False), Failed)


def test_what_was_sent_is_remembered_in_little_memory() -> None:
    """A stream of 256 trajectories has 256,000 frames."""
    inflight, _, _ = made()
    for index in (4, 5):
        for position in range(1000):
            inflight.accept(Frame("job", index, position, b"", b""))
    assert len(inflight._sent) == 2
