"""What becomes of a batch whose step failed: what is tried again, in which parts, and who fails."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from app.engine.batch import Batch
from app.engine.job import Chain, Job
from app.engine.network import Network
from app.engine.scheduler import Scheduler

log = logging.getLogger("ddpm.engine")

OUT_OF_MEMORY_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")


class Outcome(NamedTuple):
    """`parts` are batches to try again, one at a time, each alone on the machine; `failures` are
    the jobs that cannot go on, and why."""

    parts: list[list[Chain]]
    failures: dict[Job, str]


def recover(batch: Batch, lane: int | None, error: Exception, scheduler: Scheduler) -> Outcome:
    """Decide what to do about a batch whose step failed with `error`, on a lane or, with None, on
    the whole machine. In this order:

    1. What failed on a lane is tried again as it is, alone on the machine.
    2. When memory ran out, batches of the network are half as large from now on; jobs of which not
       even one chain fits in them fail.
    3. Otherwise each job is tried by itself; the job that fails by itself is the one at fault.

    Raises the error itself, unless it is about memory, where the board cannot repeat a step: on a
    GPU the device may be in any state, so the whole process must be replaced.
    """
    chains = [chain for chain in batch if scheduler.is_here(chain)]
    if lane is not None:
        return Outcome([chains], {})
    if is_out_of_memory(error):
        if batch.network.board.halve():
            return _in_smaller_batches(chains, batch.network, scheduler)
    elif not batch.network.board.can_repeat:
        raise error
    return _job_by_job(chains, error)


def is_out_of_memory(error: Exception) -> bool:
    """Did the device, or this machine, have no memory left?"""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS)
    )


def smaller_batches(chains: Sequence[Chain], max_rows: int) -> list[list[Chain]]:
    """The chains in batches of at most `max_rows` network rows. None may need more by itself."""
    batches: list[list[Chain]] = []
    room = 0
    for chain in chains:
        rows = chain.job.rows_at(chain.position)
        if rows > room:
            batches.append([])
            room = max_rows
        batches[-1].append(chain)
        room -= rows
    return batches


def _in_smaller_batches(
    chains: Sequence[Chain], network: Network[Any], scheduler: Scheduler
) -> Outcome:
    max_rows = network.board.max_rows
    log.warning("out of memory: batches of at most %d rows from now on", max_rows)
    unfit = scheduler.limit(network, max_rows)
    fit = [chain for chain in chains if chain.job not in unfit]
    failures = dict.fromkeys(unfit, "not enough memory for one image of this request")
    return Outcome(smaller_batches(fit, max_rows), failures)


def _job_by_job(chains: Sequence[Chain], error: Exception) -> Outcome:
    by_job: dict[Job, list[Chain]] = {}
    for chain in chains:
        by_job.setdefault(chain.job, []).append(chain)
    requests = sorted(job.request_id for job in by_job)
    log.error(
        "a step of %d chains failed", len(chains), extra={"requests": requests}, exc_info=error
    )
    if len(by_job) == 1:
        return Outcome([], dict.fromkeys(by_job, f"the model failed: {error!r}"))
    return Outcome(list(by_job.values()), {})
