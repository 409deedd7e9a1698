"""The scheduler's seventh rule, on plain data: what becomes of the others with several networks."""

import heapq
import random
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any, cast

import pytest

from app.engine.batch import Batch
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.scheduler import Scheduler
from tests.app.engine.networks import network

QUICK = LatencyCurve({1: 0.5, 2: 0.6, 4: 0.8, 8: 1.0})
SLOW = LatencyCurve({1: 3.0, 2: 5.0, 4: 9.0, 8: 17.0})
"""A network of which eight rows take five times as long as one."""


def job(
    of: Network[Any],
    name: str,
    chains: int,
    steps: int,
    client: str = "",
    *,
    is_alone: bool = False,
    guided: range = range(0),
) -> Job:
    nothing = cast(Any, None)  # what a step does is not asked
    made = Job(name, steps, guided, client, is_alone, network=of, table=nothing)
    made.add_chains(range(chains), None)
    return made


def story(batch: Batch | None) -> str:
    """A batch as text: `a0@3` is chain 0 of job a with three steps done."""
    chains = batch or ()
    return " ".join(f"{chain.job.id}{chain.index}@{chain.position}" for chain in chains)


class Machine:
    """Batches side by side on a machine with a clock, and what each client has had of it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.running: list[tuple[float, int, Batch]] = []  # when it is done, and which it is
        self.seconds = 0.0
        self.had = defaultdict[str, float](float)  # seconds of the machine, by client
        self.batches = 0
        self.finished = Counter[str]()  # chains, by job

    def add(self, *jobs: Job) -> None:
        for each in jobs:
            self.scheduler.add(each)

    def step(self) -> Batch:
        """Fill the lanes, go on to when the next batch is done, and return that."""
        while batch := self.scheduler.schedule():
            self.check(batch)
            self.batches += 1
            for chain in batch:
                self.had[chain.job.client] += batch.machine_seconds / len(batch)
            begins = self.seconds
            if batch.network.depth > 1:  # once those before it are done
                begins = max([end for end, _, _ in self.running], default=begins)
            heapq.heappush(self.running, (begins + batch.seconds, self.batches, batch))
        self.seconds, _, batch = heapq.heappop(self.running)
        self.finished.update(chain.job.id for chain in self.scheduler.advance(batch))
        return batch

    def check(self, batch: Batch) -> None:
        """What must hold of a batch beside those that are running."""
        assert {chain.job.network for chain in batch} == {batch.network}
        beside = [other for _, _, other in self.running]
        if batch.network.depth == 1:
            assert not any(set(batch) & set(other) for other in beside), "a chain twice at once"
        assert all(batch.network.runs_beside(other.network) for other in beside)
        assert len(beside) < batch.network.places

    def share(self, client: str) -> float:
        return self.had[client] / sum(self.had.values())


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_clients_have_equal_shares_of_the_time_whatever_a_step_of_their_networks_takes(
    num_lanes: int,
) -> None:
    quick, slow = network(QUICK, num_lanes), network(SLOW, num_lanes)
    machine = Machine()
    machine.add(job(quick, "a", 64, 4000, "quick"), job(slow, "b", 64, 4000, "slow"))
    while machine.seconds < 2000:
        machine.step()
    assert machine.share("quick") == pytest.approx(0.5, abs=0.02)


def test_the_company_of_a_client_that_asks_for_little_is_worth_no_more_than_a_share() -> None:
    quick, slow = network(QUICK), network(SLOW)
    machine = Machine()
    machine.add(job(quick, "one", 1, 100_000, "little"))
    machine.add(job(quick, "a", 64, 9000, "quick"), job(slow, "b", 64, 9000, "slow"))
    while machine.seconds < 3000:
        machine.step()
    assert machine.share("slow") == pytest.approx(machine.share("quick"), abs=0.02)
    assert machine.share("slow") >= 0.32


def test_nobody_sheds_what_a_long_batch_costs_by_leaving_after_it() -> None:
    quick, slow = network(QUICK), network(SLOW)
    machine = Machine()
    machine.add(job(quick, "long", 64, 9000, "long"))
    while machine.seconds < 3000:
        for client in ("x", "y", "z"):
            if not any(each.client == client for each in machine.scheduler.jobs.values()):
                machine.add(job(slow, f"{client}{machine.batches}", 8, 1, client))
        machine.step()
    assert machine.share("long") == pytest.approx(1 / 4, abs=0.02)


def test_many_small_requests_of_one_network_still_share_batches() -> None:
    quick, slow = network(QUICK), network(SLOW)
    machine = Machine()
    machine.add(job(slow, "b", 64, 9000, "slow"))
    machine.add(*(job(quick, f"a{i}:", 1, 100_000, f"client{i}") for i in range(8)))
    rows: list[int] = []
    while machine.seconds < 3000:
        batch = machine.step()
        rows += [len(batch)] if batch.network is quick else []
    assert sum(rows) / len(rows) > 7
    assert machine.share("slow") == pytest.approx(1 / 9, abs=0.02)


@pytest.mark.parametrize(("client", "slowdown"), [("same", 1.5), ("other", 2.5)])
def test_a_short_job_of_one_network_is_not_stuck_behind_a_long_one_of_another(
    client: str, slowdown: float
) -> None:
    quick, slow = network(QUICK), network(SLOW)
    machine = Machine()
    machine.add(job(slow, "long", 64, 1000, "same"))
    for _ in range(20):
        machine.step()
    short = job(quick, "short", 1, 50, client)
    machine.add(short)
    came = machine.seconds
    while short.chains:
        machine.step()
    longest_step = SLOW.seconds(8)
    assert machine.seconds - came <= slowdown * short.alone_seconds + longest_step


def test_one_clients_long_job_of_a_network_is_not_starved_by_short_ones_of_another() -> None:
    quick, slow = network(QUICK), network(SLOW)
    machine = Machine()
    long = job(slow, "long", 8, 100)
    machine.add(long)
    for k in range(100_000):
        if not long.chains:
            break
        if not any(each.network is quick for each in machine.scheduler.jobs.values()):
            machine.add(job(quick, f"short{k}", 8, 5))
        machine.step()
    assert machine.seconds < 5 * long.alone_seconds


def test_the_lanes_have_different_networks_and_neither_is_spread() -> None:
    a, b = network(QUICK, 2), network(SLOW, 2)
    scheduler = Scheduler()
    scheduler.add(job(a, "a", 4, 10, "x"))
    scheduler.add(job(b, "b", 4, 10, "y"))
    first, second = scheduler.schedule(), scheduler.schedule()
    assert (story(first), story(second)) == ("a0@0 a1@0 a2@0 a3@0", "b0@0 b1@0 b2@0 b3@0")
    assert not scheduler.schedule()
    assert first and second and not (first.has_machine or second.has_machine)
    scheduler.advance(second)
    assert story(scheduler.schedule()) == "b0@1 b1@1 b2@1 b3@1", "a's chains all run"


def test_networks_that_share_out_the_machine_otherwise_take_turns_on_it() -> None:
    lanes, whole = network(QUICK, 2), network(SLOW)
    scheduler = Scheduler()
    scheduler.add(job(lanes, "a", 6, 50, "x"))
    first, second = scheduler.schedule(), scheduler.schedule()
    scheduler.add(job(whole, "b", 1, 2, "y"))
    assert first and second
    scheduler.advance(first)
    third = scheduler.schedule()
    assert third and third.network is lanes, "both have paid the same, and a came first"
    for batch in (second, third):
        assert not scheduler.schedule(), "b is first in line, and waits for both lanes"
        scheduler.advance(batch)
    alone = scheduler.schedule()
    assert story(alone) == "b0@0" and alone and alone.has_machine
    assert not scheduler.schedule(), "nothing runs beside it"
    scheduler.advance(alone)
    assert "a" in story(scheduler.schedule()) and "a" in story(scheduler.schedule())


def test_a_device_gets_the_next_batch_of_another_network_before_the_last_is_done() -> None:
    a, b = network(QUICK, depth=2), network(SLOW, depth=2)
    scheduler = Scheduler()
    scheduler.add(job(a, "a", 2, 9, "x"))
    scheduler.add(job(b, "b", 1, 9, "y"))
    first, second = scheduler.schedule(), scheduler.schedule()
    assert (story(first), story(second)) == ("a0@0 a1@0", "b0@0")
    assert first and not scheduler.schedule(), "two are under way"
    scheduler.advance(first)
    assert story(scheduler.schedule()) == "a0@1 a1@1"


def test_a_network_without_room_for_a_state_keeps_no_other_from_its_turn() -> None:
    full, free = network(QUICK, seat=lambda _chain: False), network(SLOW)
    scheduler = Scheduler()
    scheduler.add(job(full, "a", 2, 9, "x"))
    scheduler.add(job(free, "b", 1, 2, "y"))
    for position in range(2):
        batch = scheduler.schedule()
        assert batch and story(batch) == f"b0@{position}"
        scheduler.advance(batch)
    assert not scheduler.schedule()


def test_a_batch_may_be_kept_for_another_lane() -> None:
    a, b = network(QUICK), network(SLOW)
    scheduler = Scheduler()
    scheduler.add(job(a, "a", 1, 9, "x"))
    scheduler.add(job(b, "b", 1, 9, "y"))
    assert not scheduler.schedule(lambda chosen: chosen is b), "a is first in line"
    assert story(scheduler.schedule(lambda chosen: chosen is a)) == "a0@0"


def test_less_memory_for_one_network_is_its_own_affair() -> None:
    a, b = network(QUICK), network(SLOW)
    scheduler = Scheduler()
    guided = job(a, "guided", 1, 5, guided=range(5))
    other = job(b, "other", 1, 5, guided=range(5))
    for each in (guided, other):
        scheduler.add(each)
    assert scheduler.of(a) == [guided]
    assert scheduler.limit(a, 1) == [guided]
    assert (a.curve.max_rows, b.curve.max_rows) == (1, 8)


def test_thousands_of_random_requests_of_many_networks_lose_no_chain_and_nobody_starves() -> None:
    for seed in range(6):
        draw, machine = random.Random(seed), Machine()
        curves = {8: QUICK, 4: SLOW, 2: LatencyCurve({2: 4.0}), 16: LatencyCurve({16: 2.0})}
        depth = draw.choice([1, 1, 2])
        lanes = [1] if depth > 1 else [1, 2]
        networks = [
            network(curve, draw.choice(lanes), depth=depth, max_steps=draw.choice([1, 4]))
            for curve in curves.values()
        ]
        made: dict[str, int] = {}
        for k in range(400):
            if draw.random() < 0.3 or not machine.scheduler.jobs:
                new = job(
                    draw.choice(networks), f"job{k}", draw.randint(1, 12), draw.choice([1, 3, 20]),
                    draw.choice("abcdef"), is_alone=draw.random() < 0.05,
                )  # fmt: skip
                made[new.id] = len(new.chains)
                machine.add(new)
            batch = machine.step()
            assert all(chain.launched >= chain.position for chain in batch)
            if draw.random() < 0.02 and machine.scheduler.jobs:
                gone = draw.choice(list(machine.scheduler.jobs))
                machine.scheduler.cancel(gone)
                made[gone] = machine.finished[gone]
        while machine.scheduler.jobs or machine.running:
            machine.step()
        assert {name: machine.finished[name] for name in made} == made


def test_clients_that_always_have_work_get_the_same_time_whatever_the_others_do() -> None:
    networks = {c: network(curve, 2) for c, curve in zip("xyz", (QUICK, SLOW, QUICK), strict=True)}
    draw, machine = random.Random(0), Machine()
    made = 0
    for step in range(3000):
        for client, mine in networks.items():
            waiting = sum(len(j.chains) for j in machine.scheduler.of(mine) if j.client == client)
            if waiting < 16:
                made += 1
                chains, steps = draw.randint(1, 12), draw.choice([3, 20, 50])
                machine.add(job(mine, f"job{made}", chains, steps, client))
        if step % 7 == 0:
            made += 1
            machine.add(job(draw.choice(list(networks.values())), f"job{made}", 2, 3, "passing"))
        machine.step()
    for one, other in combinations("xyz", 2):
        assert machine.had[one] == pytest.approx(machine.had[other], rel=0.06)


@pytest.mark.parametrize("num_lanes", [1, 2])
@pytest.mark.parametrize(("factor", "client"), [(1, "user{}"), (3, "all")])
def test_no_request_waits_longer_than_its_share_of_the_machine_explains(
    num_lanes: int, factor: int, client: str
) -> None:
    """As with one network (test_scheduler): K users with one request at a time, each for any of the
    networks. A client may be ahead by a batch more than there."""
    K = 12
    longest_step = SLOW.seconds(8)
    for seed in range(2):
        draw, machine = random.Random(seed), Machine()
        networks = [network(curve, num_lanes) for curve in (QUICK, SLOW, QUICK)]
        asked: dict[str, tuple[int, float, float]] = {}  # user, second, longest allowed
        while machine.batches < 3000:
            for user in sorted(set(range(K)) - {user for user, _, _ in asked.values()}):
                new = job(
                    draw.choice(networks), f"{user} {machine.batches}", draw.randint(1, 12),
                    draw.choice([1, 3, 20, 50]), client.format(user),
                )  # fmt: skip
                machine.add(new)
                longest = factor * K * (new.alone_seconds + 2 * longest_step)
                asked[new.id] = user, machine.seconds, longest
            machine.step()
            for name in [name for name in asked if name not in machine.scheduler.jobs]:
                _, since, longest = asked.pop(name)
                assert machine.seconds - since <= longest
        assert all(machine.seconds - since <= longest for _, since, longest in asked.values())
