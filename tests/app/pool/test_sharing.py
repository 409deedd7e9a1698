"""Which engines make which samples: what is done soonest, by measured speeds and what they have."""

import dataclasses
from typing import cast

from app.pool.engine import Engine
from app.pool.loads import Loads
from app.pool.pace import backlog_seconds, full_batch, seconds_alone, seconds_together
from app.pool.sharing import share
from app.pool.tally import Tally
from app.wire.messages import Load, Loaded, ModelInfo, Submit
from tests.model_info import MODEL

KEY = "m#1"
GPU = dataclasses.replace(
    MODEL,
    batch_sizes=(4, 8, 16, 32),
    step_seconds={"4": 0.001, "8": 0.001, "16": 0.001, "32": 0.001},
    seconds_per_row=0.001 / 32,
)


class Fake:
    """An engine as far as its speed matters."""

    def __init__(self, info: ModelInfo, rows: int) -> None:
        self.loads = Loads()
        self.loads.want(Load(KEY, "m", "m"))
        self.loads.accept(Loaded(KEY, info, 1.0, 1000))
        self.tally = Tally()
        if rows:
            self.tally.join(asked(rows, steps=1), rows)


def idle(info: ModelInfo = MODEL, rows: int = 0) -> Engine:
    """An engine of this speed that has so many rows to do."""
    return cast(Engine, Fake(info, rows))


def asked(n: int, steps: int = 10, guidance: float = 0.0) -> Submit:
    labels = (0,) * n if guidance else None
    return Submit("a", KEY, 1, tuple(range(n)), labels, "ddim", steps, guidance=guidance)


def shares(submit: Submit, *engines: Engine) -> list[int]:
    """How many samples each engine is given."""
    found = {id(engine): len(part.indices) for engine, part in share(submit, engines)}
    return [found.get(id(engine), 0) for engine in engines]


def test_a_job_alone_takes_its_steps_by_the_batch_that_it_fills() -> None:
    assert seconds_alone(MODEL, asked(3), 3) == 10 * 0.01
    assert seconds_alone(MODEL, asked(8), 8) == 10 * 0.02
    assert seconds_alone(MODEL, asked(4, guidance=1.0), 4) == 10 * 0.02
    assert seconds_alone(MODEL, asked(80), 80) == 80 * 10 * 0.0025


def test_a_full_batch_has_fewer_samples_where_each_takes_two_rows() -> None:
    assert full_batch(idle(), asked(1)) == 8
    assert full_batch(idle(), asked(1, guidance=1.0)) == 4


def test_engines_together_have_the_sum_of_their_speeds() -> None:
    engines = [idle(), idle(GPU)]
    assert backlog_seconds(idle(rows=400)) == 1.0
    assert seconds_together({KEY: 32_400}, engines) == 1.0
    assert seconds_together({KEY: 1}, []) == 0.0, "nobody knows"


def test_the_least_busy_of_equals_is_given_the_job() -> None:
    assert shares(asked(2), idle(rows=10), idle(), idle()) == [0, 2, 0]


def test_a_fast_engine_that_has_much_to_do_is_done_before_a_slow_one_that_is_idle() -> None:
    assert shares(asked(8), idle(), idle(GPU, rows=1000)) == [0, 8]
    assert shares(asked(8), idle(), idle(GPU, rows=10_000)) == [8, 0]


def test_of_a_thousand_engines_the_one_that_is_done_soonest_is_found() -> None:
    engines = [idle(rows=10) for _ in range(1000)]
    engines[700], engines[800] = idle(), idle(GPU, rows=10_000)
    (chosen,) = [engine for engine, _ in share(asked(2), engines)]
    assert chosen is engines[700]
    (chosen,) = [engine for engine, _ in share(asked(8, steps=100), engines)]
    assert chosen is engines[800]
    parts = share(asked(400), engines[:800])
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
