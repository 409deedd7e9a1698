"""What becomes of a job whose turn ends with an error."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from app.jobs.errors import LostLease, StorageDamaged, StorageError
from app.jobs.leases import Leases
from app.jobs.tables import Job
from app.pool.errors import Refused

log = logging.getLogger("ddpm.jobs")

REFUSED_SECONDS = 1.0
"""Pause while there is no engine, or no room in its queue."""
RETRY_SECONDS = 5.0
"""Pause after an error of the storage."""


class Ending(NamedTuple):
    """What becomes of a job whose turn an error ended."""

    change: Callable[[Leases, Job, BaseException], Coroutine[Any, Any, bool | None]]
    pause: float = 0.0  # seconds before the slot's next turn


ENDINGS: dict[type[BaseException], Ending] = {
    # The job is deleted or taken over: nothing is left to be said. Where its files have been
    # removed, those that were written since are, too.
    LostLease: Ending(lambda leases, job, _: leases.leave(job)),
    StorageError: Ending(lambda leases, job, error: leases.release(job, str(error)), RETRY_SECONDS),
    Refused: Ending(
        lambda leases, job, error: leases.release(job, f"waits for the engine: {error}"),
        REFUSED_SECONDS,
    ),
    # The server stops, or the job has been deleted here.
    asyncio.CancelledError: Ending(lambda leases, job, _: leases.release(job, None)),
    Exception: Ending(
        lambda leases, job, error: leases.fail(job, f"an error in the server: {error!r}")
    ),
}
"""By the error that ended the turn; the first that fits counts."""


async def settle(
    leases: Leases,
    job: Job,
    error: BaseException,
    remove: Callable[[Job], Coroutine[Any, Any, None]],
) -> float:
    """Make of the job what ENDINGS says of the error; the seconds to pause after it. The files are
    removed of a job that is forgotten.

    Raises StorageDamaged: nothing more is written then.
    """
    if isinstance(error, StorageDamaged):
        raise error
    ending = next(found for kind, found in ENDINGS.items() if isinstance(error, kind))
    if isinstance(error, StorageError):
        log.error("job %s waits: %s", job.id, error)
    elif ending is ENDINGS[Exception]:
        log.error("job %s failed", job.id, exc_info=error)
    try:
        if await ending.change(leases, job, error) is True:
            await remove(job)
    except LostLease as lost:
        return await settle(leases, job, lost, remove)
    except StorageDamaged:
        raise
    except StorageError as unchanged:
        log.error("job %s waits until its lease runs out: %s", job.id, unchanged)
        return RETRY_SECONDS
    return ending.pause
