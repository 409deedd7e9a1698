"""Which engines make which samples: what is done soonest, by measured speeds and what they have."""

from app.pool.engine import Engine
from app.pool.fleet import Fleet
from app.pool.sharing import CANDIDATES, candidates, share
from app.wire.messages import Submit
from tests.app.pool.pacing import GPU, asked, idle


def shares(submit: Submit, *engines: Engine) -> list[int]:
    """How many samples each engine is given."""
    found = {id(engine): len(part.indices) for engine, part in share(submit, engines)}
    return [found.get(id(engine), 0) for engine in engines]


def test_the_least_busy_of_equals_is_given_the_job() -> None:
    assert shares(asked(2), idle(rows=10), idle(), idle()) == [0, 2, 0]


def test_a_fast_engine_that_has_much_to_do_is_done_before_a_slow_one_that_is_idle() -> None:
    assert shares(asked(8), idle(), idle(GPU, rows=1000)) == [0, 8]
    assert shares(asked(8), idle(), idle(GPU, rows=10_000)) == [8, 0]


def test_of_many_engines_as_many_are_looked_at_closely_as_may_make_a_part() -> None:
    fleet = Fleet()
    for _ in range(100):
        fleet.add(idle())
    assert len(candidates(asked(2), fleet)) == CANDIDATES
    parts = share(asked(400), candidates(asked(400), fleet))
    assert {len(part.indices) for _, part in parts} == {8} and len(parts) == 50


def test_full_batches_are_spread_so_that_all_are_done_at_the_same_time() -> None:
    assert shares(asked(64), idle(), idle()) == [32, 32]
    assert shares(asked(64), idle(rows=160), idle()) == [24, 40]
    assert shares(asked(23), idle(), idle()) == [8, 15]


def test_an_engine_that_computes_all_at_once_is_not_helped_by_slower_ones() -> None:
    assert shares(asked(32), idle(), idle(GPU)) == [0, 32]


def test_parts_are_neighbours_and_have_names_of_their_own() -> None:
    parts = [part for _, part in share(asked(16), [idle(), idle()])]
    assert [part.id for part in parts] == ["a.0", "a.1"]
    assert [part.indices for part in parts] == [tuple(range(8)), tuple(range(8, 16))]
    whole = asked(3)
    assert [part for _, part in share(whole, [idle()])] == [whole]
