"""Jobs move to where they are done at all, or sooner, and what was done of them stays done."""

import asyncio
from dataclasses import replace

import pytest

from app.pool.errors import NotReady
from app.pool.makers import maker
from app.wire.flight_recorder import Place
from app.wire.messages import Cancel, Done, Submit
from tests.app.pool.fake_processes import (
    KEY,
    OTHER_MACHINE,
    FakeProcess,
    asked,
    engines,
    finished,
    parts,
    read,
    ready,
    refusal,
)
from tests.model_info import MODEL


def test_what_a_dead_engine_leaves_undone_another_does() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    with pool.submit(asked("a", n=4)) as inflight:
        finished(first, "a", 2)
        first.die(Place("a", 0, 3))
        assert (parts(pool), pool.queued_samples) == ([(), (0, 1, 2, 3)], 3)
        left = second.told[-1]
        assert isinstance(left, Submit)
        assert (left.indices, left.is_alone) == ((0, 1, 3), True)
        finished(second, "a", 0, 1, 3)
        second.say(Done("a", 0.0, 0.0))
        assert len(asyncio.run(read(inflight))) == 5
    assert pool.engines[1].backlog == 0


def test_where_all_engines_are_dead_the_first_that_is_back_takes_all() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    pool.submit(asked("a", n=4))
    pool.submit(asked("b", n=4))
    first.die()
    second.die()
    assert [len(engine.inflight) for engine in pool.engines] == [0, 2]
    first.get_ready()
    assert [len(engine.inflight) for engine in pool.engines] == [2, 0]


def test_an_engine_that_comes_later_takes_its_share_of_what_waits() -> None:
    pool = ready()
    for name in "abcde":
        pool.submit(asked(name, n=2))
    late = FakeProcess("late", pool)
    pool.add(late)
    late.get_ready()
    first, _ = engines(pool)
    assert (list(first.inflight), list(late.inflight)) == (["a", "b", "c"], ["e", "d"])
    assert first.told[-2:] == [Cancel("e"), Cancel("d")]
    assert pool.queued_samples == 10


def test_of_two_equal_jobs_an_engine_that_comes_later_takes_one() -> None:
    pool = ready()
    pool.submit(asked("a", n=2))
    pool.submit(asked("b", n=2))
    late = FakeProcess("late", pool)
    pool.add(late)
    late.get_ready()
    assert (list(engines(pool)[0].inflight), list(late.inflight)) == (["a"], ["b"])


def test_what_would_not_be_done_sooner_elsewhere_stays() -> None:
    pool = ready()
    pool.submit(asked("a", n=2))
    late = FakeProcess("late", pool)
    pool.add(late)
    late.get_ready()
    assert list(engines(pool)[0].inflight) == ["a"]


def test_a_job_that_would_only_make_the_other_engine_the_busier_one_stays() -> None:
    pool = ready()
    pool.submit(asked("small", n=1))
    pool.submit(asked("large", n=3))
    late = FakeProcess("late", pool)
    pool.add(late)
    late.get_ready()
    assert (list(engines(pool)[0].inflight), list(late.inflight)) == (["large"], ["small"])


def test_what_an_engine_has_when_it_is_taken_away_others_do_or_those_that_come() -> None:
    async def run() -> None:
        pool = ready(num_engines=2)
        first, second = engines(pool)
        pool.submit(asked("a"))
        await pool.remove(first)
        assert list(second.inflight) == ["a"]
        await pool.remove(second)
        assert (pool.engines, pool.queued_samples) == ([], 1)
        kind, reason, seconds = refusal(pool, asked("b"))
        assert (kind, seconds) == (NotReady, 1)
        assert reason == "the model m is being loaded: waits for an engine"
        late = FakeProcess("late", pool)
        pool.add(late)
        assert list(late.inflight) == ["a"]
        late.get_ready()
        assert isinstance(late.told[-1], Submit) or isinstance(late.told[-2], Submit)

    asyncio.run(run())


def test_what_one_kind_of_machine_must_make_no_other_does() -> None:
    async def run() -> None:
        pool = ready(num_engines=2)
        first, second = engines(pool)
        second.get_ready(OTHER_MACHINE)
        bound = replace(asked("a", n=40), made_by=maker(MODEL))
        inflight = pool.submit(bound)
        assert parts(pool) == [bound.indices, ()], "not cut for both"
        first.die()
        assert (list(first.inflight), list(second.inflight)) == (["a"], []), "it waits"
        assert refusal(pool, bound)[0] is NotReady
        first.get_ready()
        assert isinstance(first.told[-1], Submit)
        await pool.remove(first)
        assert not second.inflight
        with pytest.raises(NotReady, match="kind of machine that began it"):
            await anext(inflight)

    asyncio.run(run())


def test_what_one_kind_of_machine_must_make_does_not_move_for_the_sake_of_time() -> None:
    pool = ready()
    for name in "abcde":
        pool.submit(replace(asked(name, n=2), made_by=maker(MODEL)))
    other, same = FakeProcess("other", pool), FakeProcess("same", pool)
    pool.add(other)
    other.get_ready(OTHER_MACHINE)
    assert other.serves(KEY) and not other.inflight
    pool.add(same)
    same.get_ready()
    assert not other.inflight


def test_what_a_retired_engine_leaves_undone_waits_where_its_model_is_loaded() -> None:
    pool = ready(num_engines=2)
    first, second = engines(pool)
    pool.submit(asked("a"))
    pool.retire(first)
    second.die()
    assert list(first.inflight) == ["a"], "as long as it lives, it does what it has"
    first.die()
    assert (list(first.inflight), list(second.inflight)) == ([], ["a"])
    second.get_ready()
    left = second.told[-1]
    assert isinstance(left, Submit) and left.id == "a"
