"""The scheduling policy, as stories on plain data, and as invariants on random loads."""

import random

from app.engine.scheduler import Chain, Job, Scheduler


def job(name: str, chains: int, steps: int, rows: int = 1) -> Job:
    made = Job(name, steps, rows)
    made.add_chains(range(chains), None)
    return made


def story(batch: list[Chain]) -> str:
    """A batch as text: `a0@3` is chain 0 of job a with three steps done."""
    return " ".join(f"{chain.job.id}{chain.index}@{chain.position}" for chain in batch)


def run_step(scheduler: Scheduler) -> tuple[str, str]:
    batch = scheduler.schedule()
    told = story(batch)
    finished = scheduler.advance(batch)
    return told, " ".join(f"{chain.job.id}{chain.index}" for chain in finished)


def test_requests_join_and_leave_a_running_batch_between_steps() -> None:
    scheduler = Scheduler(max_rows=4)
    scheduler.add(job("a", chains=2, steps=3))
    assert run_step(scheduler) == ("a0@0 a1@0", "")
    scheduler.add(job("b", chains=1, steps=2))
    assert run_step(scheduler) == ("a0@1 a1@1 b0@0", "")
    assert run_step(scheduler) == ("a0@2 a1@2 b0@1", "a0 a1 b0")
    assert repr(scheduler) == "<Scheduler []>"
    assert scheduler.schedule() == []


def test_a_short_job_overtakes_a_long_one_that_fills_the_batch() -> None:
    scheduler = Scheduler(max_rows=4)
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
    scheduler = Scheduler(max_rows=4)
    scheduler.add(job("a", chains=2, steps=3))
    scheduler.add(job("b", chains=2, steps=3))
    run_step(scheduler)
    cancelled = scheduler.cancel("a")
    assert cancelled is not None and cancelled.id == "a"
    assert scheduler.cancel("a") is None
    assert run_step(scheduler) == ("b0@1 b1@1", "")


def test_a_guided_chain_takes_two_rows_and_the_last_row_goes_to_one_that_fits() -> None:
    scheduler = Scheduler(max_rows=3)
    scheduler.add(job("guided", chains=2, steps=5, rows=2))
    scheduler.add(job("plain", chains=3, steps=5))
    assert run_step(scheduler)[0] == "plain0@0 plain1@0 plain2@0"
    assert run_step(scheduler)[0] == "guided0@0 plain0@1"


def test_a_chain_that_can_never_fit_is_refused() -> None:
    scheduler = Scheduler(max_rows=1)
    try:
        scheduler.add(job("guided", chains=1, steps=1, rows=2))
    except ValueError as error:
        assert str(error) == "a chain needs 2 rows, the batch has 1"
    else:
        raise AssertionError("admitted")


def test_a_job_alone_is_not_delayed() -> None:
    scheduler = Scheduler(max_rows=4)
    alone = job("a", chains=6, steps=3)
    scheduler.add(alone)
    while scheduler.jobs:
        scheduler.advance(scheduler.schedule())
    assert alone.delay == 0


def test_a_steady_stream_of_short_jobs_does_not_starve_a_long_one() -> None:
    scheduler = Scheduler(max_rows=2)
    scheduler.add(job("long", chains=2, steps=100))
    steps = 0
    while "long" in scheduler.jobs:
        if steps % 5 == 0:  # each takes all rows for 5 steps: alone, they fill the machine
            scheduler.add(job(f"short{steps}", chains=2, steps=5))
        scheduler.advance(scheduler.schedule())
        steps += 1
        assert steps < 2000, "starved"


def test_random_loads_lose_no_chain_use_no_slot_twice_and_leave_no_row_idle() -> None:
    random_source = random.Random(0)
    for _ in range(20):
        scheduler = Scheduler(max_rows=random_source.randint(2, 8))
        expected: dict[str, int] = {}
        finished: dict[str, set[int]] = {}
        for step in range(400):
            if step < 200 and random_source.random() < 0.3:
                new = job(
                    f"job{step}",
                    chains=random_source.randint(1, 12),
                    steps=random_source.randint(1, 20),
                    rows=random_source.randint(1, 2),
                )
                expected[new.id] = len(new.chains)
                scheduler.add(new)
            batch = scheduler.schedule()
            rows = sum(chain.job.rows for chain in batch)
            left_out = [
                chain
                for other in scheduler.jobs.values()
                for chain in other.chains
                if chain not in batch
            ]
            assert len(set(batch)) == len(batch)
            assert rows <= scheduler.max_rows
            assert all(chain.job.rows > scheduler.max_rows - rows for chain in left_out)
            for chain in scheduler.advance(batch):
                assert chain.position == chain.job.num_steps
                done = finished.setdefault(chain.job.id, set())
                assert chain.index not in done
                done.add(chain.index)
        while scheduler.jobs:
            for chain in scheduler.advance(scheduler.schedule()):
                finished.setdefault(chain.job.id, set()).add(chain.index)
        assert {name: len(done) for name, done in finished.items()} == expected
