"""A job's progress, told while it happens."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from app.generation.schemas.status import JobStatus
from app.jobs.errors import StorageUnavailable
from app.jobs.service import Jobs
from app.jobs.tables import UNFINISHED

POLL_SECONDS = 0.5


async def progress(
    jobs: Jobs, job_id: str, known_done: str | None, is_stopping: Callable[[], bool]
) -> AsyncGenerator[JobStatus, None]:
    """The job's status whenever it changes; the last one says how the job ended.

    `known_done` is the number of finished samples that the client has been told already. Ends
    without a last status when the server stops or its storage fails: the client asks again. Raises
    UnknownJob when the job is deleted.
    """
    told = None if known_done is None else ("running", known_done)
    while not is_stopping():
        try:
            status = await jobs.status(job_id)
        except StorageUnavailable:
            return
        if status.status not in UNFINISHED:
            yield status
            return
        now = status.status, str(status.done)
        if now != told:
            yield status
            told = now
        await asyncio.sleep(POLL_SECONDS)
