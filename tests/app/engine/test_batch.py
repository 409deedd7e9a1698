"""Which chains join a batch, on plain data."""

from typing import Any, cast

from app.engine.batch import COMPARABLE, PATIENCE, Batch
from app.engine.job import Job
from app.engine.latency_curve import LatencyCurve
from tests.app.engine.networks import network

STEEP = LatencyCurve({1: 2.8, 2: 3.9, 4: 6.5, 8: 11.7})
NETWORK, ON_LANES = network(STEEP), network(STEEP, 2)


def job(name: str, steps: int, chains: int = 1, rows: int = 1, *, is_alone: bool = False) -> Job:
    made = Job(
        name,
        steps,
        range(steps * (rows - 1)),
        is_alone=is_alone,
        network=NETWORK,
        table=cast(Any, None),
    )
    made.add_chains(range(chains), None)
    made.fit()
    made.alone_seconds = made.seconds_left
    return made


def joined(batch: Batch, *jobs: Job) -> list[str]:
    """The names of the jobs whose first chains the batch takes, offered in this order."""
    return [job.id for job in jobs if batch.add(job.chains[0])]


def test_it_takes_chains_up_to_its_lanes_share_of_the_rows() -> None:
    batch = Batch(ON_LANES, 2, all_rows=100)
    assert joined(batch, *(job(f"j{i}", 10) for i in range(6))) == ["j0", "j1", "j2", "j3"]
    assert batch.rows == 4


def test_few_rows_are_spread_over_the_lanes() -> None:
    batch = Batch(ON_LANES, 2, all_rows=3)
    assert joined(batch, *(job(f"j{i}", 10) for i in range(3))) == ["j0", "j1"]


def test_much_longer_jobs_join_only_while_they_hardly_slow_the_first_in_line() -> None:
    batch = Batch(NETWORK, 1, all_rows=100)
    long = [job(f"long{i}", round(20 * COMPARABLE) + 1) for i in range(3)]
    assert joined(batch, job("short", 20), *long) == ["short", "long0"]
    assert batch.is_cut_short


def test_a_first_in_line_out_of_patience_keeps_nobody_out() -> None:
    batch = Batch(NETWORK, 1, all_rows=100)
    impatient = job("short", 20)
    impatient.delay = (PATIENCE - 1) * impatient.alone_seconds
    assert len(joined(batch, impatient, *(job(f"long{i}", 1000) for i in range(7)))) == 8
    assert not batch.is_cut_short


def test_a_job_that_must_be_alone_has_the_machine_and_no_company() -> None:
    batch = Batch(ON_LANES, 2, all_rows=100)
    assert joined(batch, job("suspect", 10, is_alone=True), job("other", 10)) == ["suspect"]
    assert batch.has_machine and batch.limit == STEEP.max_rows
    batch = Batch(ON_LANES, 2, all_rows=100)
    assert joined(batch, job("other", 10), job("suspect", 10, is_alone=True)) == ["other"]


def test_rows_that_would_mostly_be_padding_are_left_out() -> None:
    batch = Batch(NETWORK, 1, all_rows=100)
    joined(batch, *(job(f"j{i}", 10) for i in range(5)))
    batch.leave_out_padding()
    assert len(batch) == batch.rows == 4


def test_its_time_is_that_of_all_lanes_rows_and_each_lane_has_its_share() -> None:
    batch = Batch(ON_LANES, 2, all_rows=100)
    joined(batch, job("a", 10), job("b", 10))
    assert batch.seconds == STEEP.seconds(4)
    assert batch.machine_seconds == STEEP.seconds(4) / 2
    alone = Batch.with_machine(ON_LANES, batch.chains)
    assert alone.has_machine and alone.rows == 2
    assert alone.seconds == alone.machine_seconds == STEEP.seconds(2)
