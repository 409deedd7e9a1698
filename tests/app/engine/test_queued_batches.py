"""Batches that begin before the last is done, of several steps each: the policy on plain data, with
a clock of its own. What one batch after another does is in `test_scheduler`."""

import random
from collections import Counter, deque
from typing import Any, cast

import pytest

from app.engine.batch import LEAVING, RUN_SECONDS, Batch
from app.engine.job import Chain, Job
from app.engine.latency_curve import LatencyCurve
from tests.app.engine.networks import OneNetwork

SHORT = LatencyCurve({8: RUN_SECONDS / 4})
"""A machine on which a step takes a quarter of the time that is needed to prepare the next."""
LONG = LatencyCurve({8: 1.0})


def job(name: str, chains: int, steps: int, client: str = "", guided: range = range(0)) -> Job:
    nothing = cast(Any, None)  # what a step does is not asked
    made = Job(name, steps, guided, client, network=nothing, table=nothing)
    made.add_chains(range(chains), None)
    return made


def told(batch: Batch) -> str:
    """A batch as text: `4 a0 a1` has four steps of two chains."""
    names = [f"{chain.job.id}{chain.index}" for chain in batch]
    return " ".join([str(batch.steps), *names])


def test_a_chain_is_begun_again_before_its_last_batch_is_done() -> None:
    scheduler = OneNetwork(LONG, depth=2)
    scheduler.add(job("a", chains=1, steps=5))
    first, second = scheduler.schedule(), scheduler.schedule()
    assert (told(first), told(second)) == ("1 a0", "1 a0")
    assert not scheduler.schedule(), "two are under way"
    (chain,) = first
    assert (chain.position, chain.launched) == (0, 2)
    assert scheduler.advance(first) == [] and chain.position == 1
    assert told(scheduler.schedule()) == "1 a0"


def test_a_chain_whose_last_step_has_begun_is_not_begun_again() -> None:
    scheduler = OneNetwork(LONG, depth=3)
    scheduler.add(job("a", chains=1, steps=2))
    first, second = scheduler.schedule(), scheduler.schedule()
    assert not scheduler.schedule()
    assert scheduler.advance(first) == []
    assert scheduler.advance(second) == list(second)
    assert not scheduler.jobs


def test_where_a_step_is_short_a_batch_has_several() -> None:
    scheduler = OneNetwork(SHORT, max_steps=16)
    scheduler.add(job("a", chains=2, steps=10))
    batches = []
    while scheduler.jobs:
        batches.append(scheduler.schedule())
        scheduler.advance(batches[-1])
    assert [batch.steps for batch in batches] == [4, 4, 2]
    assert batches[0].seconds == RUN_SECONDS


def test_while_others_wait_few_rows_idle() -> None:
    scheduler = OneNetwork(SHORT, max_steps=16)
    scheduler.add(job("short", chains=2, steps=1))
    scheduler.add(job("long", chains=20, steps=50))
    first = scheduler.schedule()
    assert first.steps == 1, "two of eight rows would idle for three of four steps"
    scheduler.advance(first)
    assert scheduler.schedule().steps == 4


def test_all_steps_of_a_batch_take_as_many_rows() -> None:
    scheduler = OneNetwork(SHORT, max_steps=16)
    scheduler.add(job("a", chains=1, steps=10, guided=range(1, 3)))
    batches = []
    while scheduler.jobs:
        batches.append(scheduler.schedule())
        scheduler.advance(batches[-1])
    assert [(batch.steps, batch.rows) for batch in batches] == [(1, 1), (2, 2), (4, 1), (3, 1)]


def test_no_more_states_leave_a_batch_than_there_is_room_for() -> None:
    scheduler = OneNetwork(LatencyCurve({8: RUN_SECONDS / 16}), max_steps=16)
    shown = job("a", chains=8, steps=50)
    shown.shown = frozenset(range(51))
    scheduler.add(shown)
    assert scheduler.schedule().steps == LEAVING


def test_a_job_that_is_alone_has_nothing_beside_or_behind_it() -> None:
    scheduler = OneNetwork(LONG, depth=2)
    scheduler.add(job("other", chains=2, steps=50))
    before = [scheduler.schedule(), scheduler.schedule()]
    suspect = job("suspect", chains=1, steps=2)
    suspect.is_alone = True
    scheduler.add(suspect)
    scheduler.advance(before[0])
    assert not scheduler.schedule(), "the one under way is not done"
    scheduler.advance(before[1])
    assert told(scheduler.schedule()) == "1 suspect0"
    assert not scheduler.schedule()


def test_what_is_left_out_counts_as_preempted() -> None:
    scheduler = OneNetwork(LatencyCurve({2: 1.0}), depth=2)
    scheduler.add(job("long", chains=2, steps=50))
    scheduler.schedule()
    scheduler.add(job("short", chains=1, steps=1))
    assert told(scheduler.schedule()) == "1 short0 long0"
    assert scheduler.preemptions == 1


def test_chains_for_whose_states_there_is_no_room_wait_while_the_others_go_on() -> None:
    seated: list[Chain] = []

    def seat(chain: Chain) -> bool:
        if chain not in seated and len(seated) < 3:
            seated.append(chain)
        return chain in seated

    scheduler = OneNetwork(LONG, depth=2, seat=seat)
    scheduler.add(job("a", chains=5, steps=3))
    under_way: deque[Batch] = deque()
    while scheduler.jobs:
        while batch := scheduler.schedule():
            assert len(batch) <= 3
            under_way.append(batch)
        for chain in scheduler.advance(under_way.popleft()):
            seated.remove(chain)


class Machine:
    """Random requests on a machine with batches queued, and what must hold at every moment."""

    def __init__(self, seed: int, curve: LatencyCurve, depth: int, max_steps: int) -> None:
        self.random = random.Random(seed)
        self.depth = depth
        self.scheduler = OneNetwork(curve, depth=depth, max_steps=max_steps)
        self.under_way: deque[tuple[Batch, dict[Chain, int]]] = deque()
        self.seconds = 0.0
        self.made = 0
        self.taken = Counter[str]()  # steps of chains, by client
        self.expected: dict[str, int] = {}
        self.finished = Counter[str]()

    def ask(self, client: str, *, may_guide: bool = True) -> Job:
        steps = self.random.choice([1, 3, 7, 20, 50])
        start = self.random.randint(0, steps)
        guided = range(start, self.random.randint(start, steps)) if may_guide else range(0)
        new = job(f"job{self.made}", self.random.randint(1, 12), steps, client, guided)
        self.made += 1
        self.expected[new.id] = len(new.chains)
        self.scheduler.add(new)
        return new

    def disturb(self) -> None:
        """Cancel, pause or resume a job."""
        if self.scheduler.jobs:
            name = self.random.choice(list(self.scheduler.jobs))
            if self.random.random() < 0.5:
                self.scheduler.cancel(name)
                self.expected[name] = self.finished[name]
            else:
                self.scheduler.pause(name, paused=self.random.random() < 0.5)

    def step(self) -> None:
        """Begin what can begin, and go on to when the oldest batch is done."""
        while batch := self._begun():
            self.under_way.append((batch, {c: c.launched for c in batch}))
        assert len(self.under_way) <= self.depth
        if not self.under_way:
            return
        batch, launched = self.under_way.popleft()
        self.seconds += batch.seconds
        here = [chain for chain in batch if self.scheduler.is_here(chain)]
        for chain in batch:
            self.taken[chain.job.client] += batch.steps
        for chain in self.scheduler.advance(batch):
            self.finished[chain.job.id] += 1
        assert all(chain.position == launched[chain] for chain in here), "counted is done"

    def _begun(self) -> Batch:
        jobs = self.scheduler.jobs.values()
        before = {chain: chain.launched for job in jobs for chain in job.chains}
        batch = self.scheduler.schedule()
        assert len(set(batch)) == len(batch)
        for k in range(batch.steps):
            rows = sum(c.job.rows_at(before[c] + k) for c in batch if before[c] + k < c.launched)
            assert rows <= batch.rows <= 8
        return batch

    def check_all_is_made(self) -> None:
        for each in self.scheduler.jobs.values():
            each.is_paused = False
        while self.scheduler.jobs or self.under_way:
            self.step()
        assert {name: self.finished[name] for name in self.expected} == self.expected


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("curve", "max_steps"), [(LONG, 1), (SHORT, 16)], ids=["long", "short"])
def test_random_requests_lose_no_chain_and_are_counted_as_they_are_done(
    depth: int, curve: LatencyCurve, max_steps: int
) -> None:
    for seed in range(8):
        machine = Machine(seed, curve, depth, max_steps)
        for _ in range(300):
            if machine.random.random() < 0.2 or not machine.scheduler.jobs:
                machine.ask(machine.random.choice("abcdef"))
            machine.step()
            if machine.random.random() < 0.05:
                machine.disturb()
        machine.check_all_is_made()


@pytest.mark.parametrize(("curve", "max_steps"), [(LONG, 1), (SHORT, 16)], ids=["long", "short"])
def test_two_clients_that_always_have_work_get_the_same(
    curve: LatencyCurve, max_steps: int
) -> None:
    depth = 2
    for seed in range(4):
        machine = Machine(seed, curve, depth, max_steps)
        for _ in range(600):
            for client in "xy":
                if (
                    sum(
                        len(j.chains) for j in machine.scheduler.jobs.values() if j.client == client
                    )
                    < 20
                ):
                    machine.ask(client, may_guide=False)
            machine.step()
            longest = 8 * max_steps
            assert abs(machine.taken["x"] - machine.taken["y"]) <= depth * longest


@pytest.mark.parametrize(("curve", "max_steps"), [(LONG, 1), (SHORT, 16)], ids=["long", "short"])
def test_who_comes_waits_for_no_more_than_what_has_begun(
    curve: LatencyCurve, max_steps: int
) -> None:
    depth = 2
    machine = Machine(0, curve, depth, max_steps)
    machine.scheduler.add(job("large", chains=64, steps=1000))
    for _ in range(20):
        machine.step()
    came = machine.seconds
    short = job("short", chains=1, steps=1)
    machine.scheduler.add(short)
    while short.chains:
        machine.step()
    batch_seconds = max(curve.seconds(8), RUN_SECONDS)
    assert machine.seconds - came <= (depth + 1) * batch_seconds
