"""Keeps the lease of a job as long as somebody works on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

from app.jobs.leases import Leases
from app.jobs.tables import Job
from app.tasks import end


@contextlib.asynccontextmanager
async def heartbeat(leases: Leases, job: Job, seconds: float) -> AsyncIterator[None]:
    """Keep a job's lease, which lasts so many seconds, as long as the block runs.

    When that fails, the block is cancelled and the reason raised: LostLease, StorageUnavailable
    or StorageFull.
    """
    block = cast(asyncio.Task[float], asyncio.current_task())  # the block's, and this one's

    def cancel_block(_: asyncio.Task[None]) -> None:
        block.cancel()

    beat = asyncio.create_task(_extend(leases, job, seconds))
    beat.add_done_callback(cancel_block)
    try:
        yield
        await asyncio.sleep(0)  # where a beat that failed as the block ended cancels it
    except asyncio.CancelledError:
        if beat.done() and not block.uncancel():  # nobody else cancelled it
            beat.result()
        raise
    finally:
        beat.remove_done_callback(cancel_block)
        await end([beat])


async def _extend(leases: Leases, job: Job, seconds: float) -> None:
    """Extend the job's lease again and again. Raises LostLease."""
    while True:
        await asyncio.sleep(seconds / 3)
        await leases.extend(job, seconds)
