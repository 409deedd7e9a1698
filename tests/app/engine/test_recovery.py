"""What becomes of a batch whose step failed, decided on plain data."""

from typing import Any, cast

import pytest
import torch

from app.engine.batch import Batch
from app.engine.job import Chain, Job
from app.engine.latency_curve import LatencyCurve
from app.engine.recovery import is_out_of_memory, recover, smaller_batches
from tests.app.engine.networks import FakeBoard, OneNetwork, network

NO_MEMORY = torch.OutOfMemoryError("injected")
CRASH = RuntimeError("no such kernel")


def machine(max_rows: int = 8, *, can_repeat: bool = True) -> tuple[FakeBoard, OneNetwork]:
    scheduler = OneNetwork(LatencyCurve({n: 1.0 for n in (1, 2, 4, 8) if n <= max_rows}))
    scheduler.network.board.can_repeat = can_repeat
    return scheduler.network.board, scheduler


def batch_of(scheduler: OneNetwork, **chains: int) -> Batch:
    """A batch of so many chains of each job; names that end with 2 take two rows a chain."""
    for name, count in chains.items():
        guided = range(5 if name.endswith("2") else 0)
        job = Job(name, 5, guided, network=network(), table=cast(Any, None), request_id=name)
        job.add_chains(range(count), None)
        scheduler.add(job)
    return scheduler.schedule()


def named(parts: list[list[Chain]]) -> list[str]:
    return [" ".join(f"{chain.job.id}{chain.index}" for chain in part) for part in parts]


def test_what_failed_on_a_lane_is_tried_again_as_it_is() -> None:
    board, scheduler = machine()
    parts, failures = recover(batch_of(scheduler, a=2, b=1), 0, NO_MEMORY, scheduler)
    assert (named(parts), failures) == (["a0 a1 b0"], {})
    assert board.max_rows == 8


def test_without_memory_the_batch_is_halved_and_so_are_all_later_ones() -> None:
    board, scheduler = machine()
    parts, failures = recover(batch_of(scheduler, a=7), None, NO_MEMORY, scheduler)
    assert (named(parts), failures) == (["a0 a1 a2 a3", "a4 a5 a6"], {})
    assert board.max_rows == scheduler.curve.max_rows == 4


def test_a_job_of_which_no_chain_fits_any_more_fails_and_says_why() -> None:
    board, scheduler = machine(max_rows=2)
    batch = batch_of(scheduler, guided2=1)
    waiting = Job("plain", 5, network=network(), table=cast(Any, None))
    waiting.add_chains((0,), None)
    scheduler.add(waiting)
    parts, failures = recover(batch, None, NO_MEMORY, scheduler)
    assert parts == []
    assert {job.id: why for job, why in failures.items()} == {
        "guided2": "not enough memory for one image of this request"
    }


def test_after_another_error_each_job_is_tried_by_itself_and_then_fails_by_itself() -> None:
    board, scheduler = machine()
    parts, failures = recover(batch_of(scheduler, a=2, b=1), None, CRASH, scheduler)
    assert (named(parts), failures) == (["a0 a1", "b0"], {})
    alone, other = scheduler.split(scheduler._batches[0], parts)
    parts, failures = recover(alone, None, CRASH, scheduler)
    assert parts == []
    assert list(failures.values()) == ["the model failed: RuntimeError('no such kernel')"]
    assert len(other) == 1


def test_one_row_that_does_not_fit_fails_its_job_with_the_error() -> None:
    board, scheduler = machine(max_rows=1)
    parts, failures = recover(batch_of(scheduler, a=1), None, NO_MEMORY, scheduler)
    assert parts == [] and len(failures) == 1


def test_chains_of_cancelled_jobs_are_left_out() -> None:
    board, scheduler = machine()
    batch = batch_of(scheduler, a=2, b=1)
    scheduler.cancel("a")
    parts, _ = recover(batch, 0, CRASH, scheduler)
    assert named(parts) == ["b0"]


def test_an_error_on_a_gpu_is_raised_since_the_device_may_be_in_any_state() -> None:
    board, scheduler = machine(can_repeat=False)
    with pytest.raises(RuntimeError, match="no such kernel"):
        recover(batch_of(scheduler, a=1), None, CRASH, scheduler)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NO_MEMORY, True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (CRASH, False),
        (ValueError("out of memory"), False),
    ],
)
def test_no_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_smaller_batches_keep_the_order_and_split_no_chain() -> None:
    _, scheduler = machine()
    chains = batch_of(scheduler, a=1, b2=2, c=2).chains
    order = {chain: i for i, chain in enumerate(chains)}
    parts = smaller_batches(chains, 3)
    assert [order[chain] for part in parts for chain in part] == list(range(len(chains)))
    assert all(sum(chain.job.rows for chain in part) <= 3 for part in parts)
