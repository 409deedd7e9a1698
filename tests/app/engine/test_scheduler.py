"""The scheduling policy, as stories on plain data, and as invariants on random loads."""

import heapq
import random
from collections import Counter
from typing import Any, cast

import pytest

from app.engine.batch import Batch
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from tests.app.engine.networks import OneNetwork


def flat(max_rows: int) -> LatencyCurve:
    """A machine on which every step takes a second."""
    return LatencyCurve({max_rows: 1.0})


STEEP = LatencyCurve({1: 2.8, 2: 3.9, 4: 6.5, 8: 11.7})
"""A machine of few cores, on which a full batch takes four times as long as a row."""


def job(
    name: str, chains: int, steps: int, rows: int = 1, client: str = "", guided: range = range(0)
) -> Job:
    """`rows` are those of every step; else those at `guided` take two."""
    guided = range(steps) if rows == 2 else guided
    nothing = cast(Any, None)  # what a step does is not asked
    made = Job(name, steps, guided, client, network=nothing, table=nothing)
    made.add_chains(range(chains), None)
    return made


def story(batch: Batch) -> str:
    """A batch as text: `a0@3` is chain 0 of job a with three steps done."""
    return " ".join(f"{chain.job.id}{chain.index}@{chain.position}" for chain in batch)


def run_step(scheduler: OneNetwork) -> tuple[str, str]:
    batch = scheduler.schedule()
    told = story(batch)
    finished = scheduler.advance(batch)
    return told, " ".join(f"{chain.job.id}{chain.index}" for chain in finished)


def test_requests_join_and_leave_a_running_batch_between_steps() -> None:
    scheduler = OneNetwork(flat(4))
    scheduler.add(job("a", chains=2, steps=3))
    assert run_step(scheduler) == ("a0@0 a1@0", "")
    scheduler.add(job("b", chains=1, steps=2))
    assert run_step(scheduler) == ("a0@1 a1@1 b0@0", "")
    assert run_step(scheduler) == ("a0@2 a1@2 b0@1", "a0 a1 b0")
    assert repr(scheduler) == "<Scheduler []>"
    assert not scheduler.schedule()


def test_a_short_job_overtakes_a_long_one_that_fills_the_batch() -> None:
    scheduler = OneNetwork(flat(4))
    scheduler.add(job("long", chains=64, steps=1000))
    for _ in range(10):
        scheduler.advance(scheduler.schedule())
    scheduler.add(job("short", chains=1, steps=3))
    steps = 0
    while "short" in scheduler.jobs:
        scheduler.advance(scheduler.schedule())
        steps += 1
    assert steps <= 4  # one of them to the long job, whose ratio had begun to grow
    assert len(scheduler.jobs["long"].chains) == 64


def test_a_cancelled_job_takes_no_further_step() -> None:
    scheduler = OneNetwork(flat(4))
    scheduler.add(job("a", chains=2, steps=3))
    scheduler.add(job("b", chains=2, steps=3))
    run_step(scheduler)
    cancelled = scheduler.cancel("a")
    assert cancelled is not None and cancelled.id == "a"
    assert scheduler.cancel("a") is None
    assert run_step(scheduler) == ("b0@1 b1@1", "")


def test_a_guided_chain_takes_two_rows_and_the_last_row_goes_to_one_that_fits() -> None:
    scheduler = OneNetwork(flat(3))
    scheduler.add(job("guided", chains=2, steps=5, rows=2))
    scheduler.add(job("plain", chains=3, steps=20))
    assert run_step(scheduler)[0] == "guided0@0 plain0@0"
    scheduler.cancel("guided")
    scheduler.add(job("late", chains=2, steps=50, rows=2))
    assert run_step(scheduler)[0] == "plain0@1 plain1@0 plain2@0"


def test_a_chain_takes_two_rows_at_its_guided_steps_alone() -> None:
    scheduler = OneNetwork(flat(4))
    guided = job("guided", chains=2, steps=3, guided=range(1, 2))
    scheduler.add(guided)
    scheduler.add(job("plain", chains=4, steps=3))
    assert run_step(scheduler)[0] == "guided0@0 guided1@0 plain0@0 plain1@0"
    assert guided.rows_left == 2 * (2 + 1)
    assert run_step(scheduler)[0] == "guided0@1 guided1@1", "two rows each"
    assert guided.rows_left == 2
    assert run_step(scheduler)[0] == "guided0@2 guided1@2 plain0@1 plain1@1"


def test_a_row_is_left_to_a_chain_of_a_guided_job_that_takes_one() -> None:
    scheduler = OneNetwork(flat(3))
    guided = job("guided", chains=3, steps=3, guided=range(1, 2))
    for chain in guided.chains[:2]:
        chain.position = chain.launched = 1
    scheduler.add(guided)
    assert story(scheduler.schedule()) == "guided0@1 guided2@0"


def test_a_chain_that_can_never_fit_is_refused() -> None:
    scheduler = OneNetwork(flat(1))
    try:
        scheduler.add(job("guided", chains=1, steps=1, rows=2))
    except ValueError as error:
        assert str(error) == "a chain needs 2 rows, the batch has 1"
    else:
        raise AssertionError("admitted")


def test_a_job_alone_is_not_delayed() -> None:
    scheduler = OneNetwork(flat(4))
    alone = job("a", chains=6, steps=3)
    scheduler.add(alone)
    while scheduler.jobs:
        scheduler.advance(scheduler.schedule())
    assert alone.delay == 0


def test_a_steady_stream_of_short_jobs_does_not_starve_a_long_one() -> None:
    scheduler = OneNetwork(flat(2))
    scheduler.add(job("long", chains=2, steps=100))
    steps = 0
    while "long" in scheduler.jobs:
        if steps % 5 == 0:  # each takes all rows for 5 steps: alone, they fill the machine
            scheduler.add(job(f"short{steps}", chains=2, steps=5))
        scheduler.advance(scheduler.schedule())
        steps += 1
        assert steps < 2000, "starved"


def test_rows_are_shared_evenly_between_clients_however_many_jobs_each_has() -> None:
    scheduler = OneNetwork(flat(4))
    for i in range(10):
        scheduler.add(job(f"many{i}", chains=4, steps=50, client="many"))
    scheduler.add(job("one", chains=8, steps=50, client="one"))
    rows = Counter[str]()
    for _ in range(60):
        batch = scheduler.schedule()
        rows.update(chain.job.client for chain in batch)
        scheduler.advance(batch)
    assert rows == {"many": 120, "one": 120}


def test_a_client_on_several_engines_gets_one_share_of_all_of_them_together() -> None:
    scheduler = OneNetwork(flat(4))
    elsewhere = job("elsewhere", chains=8, steps=1000, client="x")
    elsewhere.spread = 3
    here = job("here", chains=8, steps=1000, client="y")
    scheduler.add(elsewhere)
    scheduler.add(here)
    for _ in range(400):
        run_step(scheduler)
    assert here.rows_left == pytest.approx(8000 - 1200, abs=8)
    assert elsewhere.rows_left == pytest.approx(8000 - 400, abs=8)


def test_what_a_client_leaves_goes_to_the_others_and_cannot_be_claimed_later() -> None:
    scheduler = OneNetwork(flat(4))
    scheduler.add(job("a", chains=20, steps=50, client="a"))
    for _ in range(60):
        batch = scheduler.schedule()
        assert len(batch) == 4
        scheduler.advance(batch)
    scheduler.add(job("late", chains=20, steps=50, client="b"))
    for _ in range(10):
        batch = scheduler.schedule()
        assert Counter(chain.job.client for chain in batch) == {"a": 2, "b": 2}
        scheduler.advance(batch)


def test_a_job_that_is_alone_shares_no_batch_and_holds_nobody_up() -> None:
    scheduler = OneNetwork(flat(4))
    suspect = job("suspect", chains=2, steps=10, client="s")
    suspect.is_alone = True
    scheduler.add(suspect)
    scheduler.add(job("other", chains=8, steps=10, client="o"))
    batches = []
    while scheduler.jobs:
        batch = scheduler.schedule()
        batches.append({chain.job.id for chain in batch})
        scheduler.advance(batch)
    assert all(len(names) == 1 for names in batches)
    assert batches.count({"suspect"}) == 10 and batches.count({"other"}) == 20
    assert {"suspect"} in batches[:3] and {"other"} in batches[:3]


def test_a_job_that_another_client_pays_for_from_now_on_waits_among_that_ones() -> None:
    scheduler = OneNetwork(flat(1))
    scheduler.add(job("long", chains=1, steps=50, client="busy"))
    scheduler.add(job("short", chains=1, steps=4, client="busy"))
    scheduler.add(job("other", chains=1, steps=50, client="other"))
    scheduler.charge("short", "idle")
    scheduler.charge("gone", "idle")
    told = [run_step(scheduler)[0].partition("@")[0] for _ in range(6)]
    assert Counter(told) == Counter(long0=2, short0=2, other0=2), "three shares, not two"


def test_a_paused_job_takes_no_step_until_it_is_resumed() -> None:
    scheduler = OneNetwork(flat(2))
    scheduler.add(job("a", chains=2, steps=3))
    run_step(scheduler)
    scheduler.add(job("b", chains=1, steps=2))
    scheduler.pause("a", paused=True)
    assert run_step(scheduler)[0] == "b0@0"
    assert not scheduler.is_idle
    assert run_step(scheduler) == ("b0@1", "b0")
    assert scheduler.is_idle and not scheduler.schedule()
    scheduler.pause("a", paused=False)
    assert run_step(scheduler)[0] == "a0@1 a1@1"
    scheduler.pause("gone", paused=True)


def test_with_fewer_rows_the_jobs_that_no_longer_fit_are_named() -> None:
    scheduler = OneNetwork(flat(4))
    scheduler.add(job("plain", chains=4, steps=2))
    scheduler.add(job("guided", chains=1, steps=2, rows=2))
    assert scheduler.limit(scheduler.network, 2) == []
    assert [left_out.id for left_out in scheduler.limit(scheduler.network, 1)] == ["guided"]
    scheduler.cancel("guided")
    assert run_step(scheduler)[0] == "plain0@0"


def test_a_chain_that_makes_room_for_another_counts_as_preempted() -> None:
    scheduler = OneNetwork(flat(2))
    scheduler.add(job("long", chains=2, steps=50))
    run_step(scheduler)
    assert scheduler.preemptions == 0
    scheduler.add(job("short", chains=1, steps=1))
    assert run_step(scheduler)[0] == "short0@0 long0@1"
    assert scheduler.preemptions == 1


def test_what_can_run_is_spread_over_the_lanes_and_each_goes_on_when_it_is_done() -> None:
    scheduler = OneNetwork(flat(8), num_lanes=2)
    scheduler.add(job("a", chains=5, steps=3))
    first, second = scheduler.schedule(), scheduler.schedule()
    assert (story(first), story(second)) == ("a0@0 a1@0 a2@0", "a3@0 a4@0")
    assert not scheduler.schedule()
    scheduler.advance(second)
    assert story(scheduler.schedule()) == "a3@1 a4@1"  # the first is not done
    scheduler.advance(first)
    scheduler.add(job("b", chains=1, steps=1))
    assert story(scheduler.schedule()) == "b0@0 a0@1 a1@1"


def test_the_only_chain_that_can_run_has_the_machine() -> None:
    scheduler = OneNetwork(flat(8), num_lanes=2)
    scheduler.add(job("a", chains=1, steps=3, rows=2))
    batch = scheduler.schedule()
    assert batch.has_machine
    scheduler.add(job("b", chains=1, steps=3))
    assert not scheduler.schedule(), "there is no lane left"
    scheduler.advance(batch)
    both = [scheduler.schedule(), scheduler.schedule()]
    assert [story(batch) for batch in both] == ["a0@1", "b0@0"]
    assert not any(batch.has_machine for batch in both)


def test_a_job_that_is_alone_waits_until_every_lane_is_done_and_then_has_all_rows() -> None:
    scheduler = OneNetwork(flat(8), num_lanes=2)
    scheduler.add(job("long", chains=8, steps=50))
    running = [scheduler.schedule(), scheduler.schedule()]
    suspect = job("suspect", chains=8, steps=2)
    suspect.is_alone = True
    scheduler.add(suspect)
    scheduler.advance(running[0])
    assert not scheduler.schedule(), "nobody is let in before it"
    scheduler.advance(running[1])
    batch = scheduler.schedule()
    assert len(batch) == 8 and {chain.job.id for chain in batch} == {"suspect"}
    assert not scheduler.schedule(), "nor beside it"


def test_a_chain_of_a_cancelled_job_is_not_counted_when_its_batch_is_done() -> None:
    scheduler = OneNetwork(flat(4), num_lanes=2)
    scheduler.add(job("a", chains=2, steps=1))
    batch = scheduler.schedule()
    scheduler.cancel("a")
    assert scheduler.advance(batch) == [] and not scheduler.jobs


class Load:
    """Random requests of several clients, and what must hold at every step."""

    def __init__(self, seed: int, curve: LatencyCurve | None = None, num_lanes: int = 1) -> None:
        self.random = random.Random(seed)
        max_rows = self.random.randint(2, 16)
        if num_lanes > 1:  # else guided chains would leave a row of every lane idle
            max_rows += -max_rows % (2 * num_lanes)
        self.scheduler = OneNetwork(curve or flat(max_rows), num_lanes)
        self.running: list[tuple[float, int, Batch]] = []  # when it is done, and which it is
        self.made = 0
        self.expected: dict[str, int] = {}
        self.finished: dict[str, set[int]] = {}
        self.rows = Counter[str]()  # given to each client
        self.steps = 0
        self.seconds = 0.0
        self.longest_step = self.scheduler.curve.seconds(self.scheduler.curve.max_rows)

    def ask(self, client: str, max_chains: int = 12, rows: int | None = None) -> Job:
        chains, steps = self.random.randint(1, max_chains), self.random.choice([1, 3, 20, 50])
        rows = rows or self.random.randint(1, 3)
        some = range(steps // 3, 2 * steps // 3) if rows == 3 else range(0)
        new = job(f"job{self.made}", chains, steps, rows, client, guided=some)
        self.made += 1
        self.expected[new.id] = len(new.chains)
        self.scheduler.add(new)
        return new

    def cancel_one(self) -> None:
        if self.scheduler.jobs:
            name = self.random.choice(list(self.scheduler.jobs))
            self.scheduler.cancel(name)
            self.expected[name] = len(self.finished.get(name, ()))

    def step(self) -> None:
        """Fill the lanes, and go on to when the next batch is done."""
        scheduler = self.scheduler
        while batch := scheduler.schedule():
            self.check(batch)
            self.steps += 1
            heapq.heappush(self.running, (self.seconds + batch.seconds, self.steps, batch))
        self.seconds, _, batch = heapq.heappop(self.running)
        for chain in batch:
            self.rows[chain.job.client] += chain.job.rows_at(chain.position)
        for chain in scheduler.advance(batch):
            assert chain.position == chain.job.num_steps
            done = self.finished.setdefault(chain.job.id, set())
            assert chain.index not in done
            done.add(chain.index)

    def check(self, batch: Batch) -> None:
        """What must hold of a batch beside those that are running."""
        scheduler, chosen = self.scheduler, set(batch)
        rows = sum(chain.job.rows_at(chain.position) for chain in batch)
        assert rows == batch.rows
        beside = [other for _, _, other in self.running]
        assert len(chosen) == len(batch), "a slot used twice"
        assert not any(chosen & set(other) for other in beside), "a slot used twice"
        assert rows + sum(other.rows for other in beside) <= scheduler.curve.max_rows
        room = batch.limit - rows if len(scheduler.curve.sizes) == 1 else 0
        for other in scheduler.jobs.values() if room else ():
            assert all(chain.rows > room for chain in other.waiting()), (
                "a row idle with work for it"
            )

    def drain(self) -> None:
        while self.scheduler.jobs or self.running:
            self.step()
        counts = {name: len(self.finished.get(name, ())) for name in self.expected}
        assert counts == self.expected, "a sample lost"


LANES = pytest.mark.parametrize("num_lanes", [1, 2])


@pytest.mark.slow
@LANES
def test_thousands_of_random_requests_lose_no_chain_use_no_slot_twice_leave_no_row_idle(
    num_lanes: int,
) -> None:
    total = 0
    for seed in range(20):
        load = Load(seed, num_lanes=num_lanes)
        for _ in range(600):
            if load.random.random() < 0.2 or not load.scheduler.jobs:
                load.ask(load.random.choice("abcdef"))
            load.step()
            if load.random.random() < 0.02:
                load.cancel_one()
        load.drain()
        total += load.made
    assert total > 2000


@LANES
def test_clients_that_always_have_work_get_the_same_whatever_the_others_do(num_lanes: int) -> None:
    for seed in range(5):
        load = Load(seed, num_lanes=num_lanes)
        busy = ("x", "y", "z")
        for step in range(2000):
            held = Counter(
                {c: sum(len(j.chains) for j in load.scheduler.jobs.values() if j.client == c)
                 for c in busy}
            )  # fmt: skip
            for client in busy:
                while held[client] < load.scheduler.curve.max_rows:
                    held[client] += len(load.ask(client, rows=1).chains)
            if step % 7 == 0:
                load.ask(f"passing{load.random.randint(0, 3)}", max_chains=3)
            load.step()
            given = [load.rows[client] for client in busy]
            assert max(given) - min(given) <= load.scheduler.curve.max_rows


@pytest.mark.slow
@LANES
def test_no_request_waits_longer_than_its_share_of_the_machine_explains(num_lanes: int) -> None:
    """K users, each with one request at a time, large or small. Clients of their own have a K-th of
    the machine each, so that a request takes at most K times as long as alone; among the requests
    of one client that is three times as much, whatever their sizes. On a machine whose full batches
    take longer, too."""
    K = 12
    for seed in range(4):
        for factor, client in ((1, "user{}"), (3, "all")):
            for curve in (None, STEEP):
                load = Load(seed, curve, num_lanes)
                asked: dict[str, tuple[int, float, float]] = {}  # user, second, longest allowed
                while load.steps < 3000:
                    for user in sorted(set(range(K)) - {user for user, _, _ in asked.values()}):
                        new = load.ask(client.format(user))
                        longest = factor * K * (new.alone_seconds + load.longest_step)
                        asked[new.id] = (user, load.seconds, longest)
                    load.step()
                    for name in [name for name in asked if name not in load.scheduler.jobs]:
                        _, since, longest = asked.pop(name)
                        assert load.seconds - since <= longest
                waiting = [load.seconds - since <= longest for _, since, longest in asked.values()]
                assert all(waiting)


def beside(client: str, num_lanes: int, *, until: float) -> tuple[list[float], float]:
    """One image after another while 64 images are made, until that second: how many times as long
    as alone each took, and the 64 images by what is done of them."""
    load = Load(0, STEEP, num_lanes)
    large = job("large", chains=64, steps=50, client="bulk")
    load.scheduler.add(large)
    took = []
    while load.seconds < until and large.chains:
        started, small = load.seconds, load.ask(client, max_chains=1, rows=1)
        while small.chains:
            load.step()
        took.append((load.seconds - started) / small.alone_seconds)
    done = 64 * 50 - sum(50 - chain.position for chain in large.chains)
    return took, load.seconds / (large.alone_seconds * done / (64 * 50))


@LANES
def test_one_image_after_another_beside_many_is_slowed_little_and_slows_them_little(
    num_lanes: int,
) -> None:
    took, large = beside("bulk", num_lanes, until=10_000.0)
    assert max(took) < 1.5 and large < 3  # of the same client: the short ones go first
    took, large = beside("other", num_lanes, until=10_000.0)
    assert sum(took) / len(took) < 2.1 and large < 2.1  # each has half of the machine


def test_the_first_in_line_is_not_slowed_by_the_rows_of_much_longer_jobs() -> None:
    scheduler = OneNetwork(STEEP)
    scheduler.add(job("long", chains=64, steps=1000))
    batch = scheduler.schedule()
    assert len(batch) == 8
    scheduler.advance(batch)
    scheduler.add(job("short", chains=1, steps=20))
    assert run_step(scheduler)[0] == "short0@0 long0@1"  # a second row costs little, a third much
    scheduler.add(job("alike", chains=1, steps=50))
    assert run_step(scheduler)[0] == "short0@1 alike0@0"


def test_jobs_of_about_the_same_length_fill_the_batch() -> None:
    scheduler = OneNetwork(STEEP)
    for i in range(16):
        scheduler.add(job(f"small{i}:", chains=1, steps=20 + i))
    assert len(scheduler.schedule()) == 8


def test_rows_for_which_a_batch_would_mostly_be_padding_take_turns() -> None:
    scheduler = OneNetwork(STEEP)
    scheduler.add(job("a", chains=5, steps=1))
    assert run_step(scheduler) == ("a0@0 a1@0 a2@0 a3@0", "a0 a1 a2 a3")
    assert run_step(scheduler) == ("a4@0", "a4")


@LANES
def test_with_more_to_do_than_the_machine_can_batches_are_full(num_lanes: int) -> None:
    load = Load(0, STEEP, num_lanes)
    load.scheduler.add(job("long", chains=64, steps=1000))
    rows = 0
    for step in range(3000):
        if step % 3 == 0:
            load.ask("", max_chains=2, rows=1)
        before = load.rows[""]
        load.step()
        rows += (load.rows[""] - before) if step >= 2000 else 0
    assert rows / 1000 > 7.5 / num_lanes
