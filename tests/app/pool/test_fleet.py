"""What is known of engines to choose one: the same as from looking at every one, whatever happens
to them."""

import random
from typing import cast

import numpy as np
import pytest

from app.pool.engine import Engine
from app.pool.fleet import Fleet, smallest
from app.pool.pace import backlog_seconds
from app.wire.messages import Load, Loaded, Submit
from tests.app.pool.pacing import GPU, KEY, Fake, asked, idle
from tests.model_info import MODEL

CLIENTS = "xyz"


def fleet_of(*engines: Engine) -> Fleet:
    fleet = Fleet()
    for engine in engines:
        fleet.add(engine)
    return fleet


class Random:
    """Engines that come, are retired and go, get jobs and finish them, lose models and load them;
    and what looking at all of them gives."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fleet = Fleet()
        self.jobs: list[tuple[Engine, Submit]] = []

    def act(self) -> None:
        engines = self.fleet.engines
        act = self.random.choice(("come", "retire", "go", *["job", "job", "finish"] * 4, "models"))
        if act == "come" or not engines:
            self.fleet.add(idle(self.random.choice((MODEL, GPU))))
            return
        engine = self.random.choice(engines)
        if act == "job":
            submit = asked(self.random.randint(1, 4), client=self.random.choice(CLIENTS))
            engine.tally.join(submit, len(submit.indices))
            self.jobs.append((engine, submit))
        elif act == "finish" and self.jobs:
            engine, submit = self.jobs.pop(self.random.randrange(len(self.jobs)))
            engine.tally.leave(submit, len(submit.indices))
        elif act == "models":
            if engine.serves(KEY):
                engine.loads.die(())
            else:
                engine.loads.accept(Loaded(KEY, self.random.choice((MODEL, GPU)), 1.0, 1000))
        elif act == "retire":
            self.fleet.retire(engine)
        elif act == "go" and not engine.tally.clients:
            self.fleet.remove(engine)

    @property
    def serving(self) -> list[Engine]:
        return [engine for engine in self.fleet.engines if engine.serves(KEY)]

    def soonest(self, submit: Submit, most: int) -> list[Engine]:
        def done(engine: Engine) -> float:
            rows = submit.cost
            return backlog_seconds(engine) + rows * engine.loads.known[KEY].seconds_per_row

        chosen = sorted(self.serving, key=done)[:most]
        return [engine for engine in self.serving if engine in chosen]


@pytest.mark.parametrize("seed", range(20))
def test_answers_are_those_of_looking_at_every_engine(seed: int) -> None:
    made = Random(seed)
    for _ in range(100):
        made.act()
        fleet, serving, job = made.fleet, made.serving, asked(2)
        assert fleet.soonest(job, 3) == made.soonest(job, 3)
        assert fleet.least_busy(KEY) is min(serving, key=backlog_seconds, default=None)
        assert fleet.most_busy(KEY) is max(serving, key=backlog_seconds, default=None)
        assert fleet.have_all(KEY) == (serving == fleet.engines)
        for client in CLIENTS:
            holders = [engine for engine in fleet.all if client in engine.tally.clients]
            assert fleet.num_with(client) == len(holders)


def test_of_a_thousand_engines_the_one_that_is_done_soonest_is_found() -> None:
    engines = [idle(rows=10) for _ in range(1000)]
    engines[700], engines[800] = idle(), idle(GPU, rows=10_000)
    fleet = fleet_of(*engines)
    assert fleet.soonest(asked(2), 1) == [engines[700]]
    assert fleet.soonest(asked(8, steps=100), 1) == [engines[800]]


def test_an_engine_without_the_model_is_not_chosen_however_idle_it_is() -> None:
    busy, empty = idle(rows=100), idle()
    empty.loads.forget(KEY)
    fleet = fleet_of(busy, empty)
    assert fleet.soonest(asked(1), 16) == [busy]
    empty.loads.want(Load(KEY, "m", "m"))
    assert fleet.soonest(asked(1), 16) == [busy, empty]
    assert fleet.soonest(asked(1, model="other#1"), 16) == []


def test_a_retired_engine_is_not_chosen_but_has_its_clients() -> None:
    engine = idle(rows=10)
    fleet = fleet_of(engine)
    fleet.retire(engine)
    assert (fleet.soonest(asked(1), 16), fleet.least_busy(KEY)) == ([], None)
    assert fleet.num_with("") == 1
    cast(Fake, engine).tally.leave(asked(10, steps=1), 10)
    assert fleet.num_with("") == 0


def test_of_equal_values_the_first_are_the_smallest() -> None:
    values = np.array([2.0, 1.0, np.inf, 1.0, 0.0, 1.0])
    assert [list(smallest(values, most)) for most in (1, 2, 3, 4, 9)] == [
        [4], [1, 4], [1, 3, 4], [1, 3, 4, 5], [0, 1, 3, 4, 5],
    ]  # fmt: skip
