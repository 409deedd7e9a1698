"""A job's progress as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from app.generation.schemas import JobStatus
from app.http.problems import Problem
from app.http.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, sse
from app.jobs.database import StorageUnavailable
from app.jobs.service import Jobs
from app.jobs.store import UnknownJob

POLL_SECONDS = 0.5
LAST_ID = "end"
"""The id of the last event."""
ENDED = ("finished", "failed", "expired")


async def progress(
    jobs: Jobs, job_id: str, last_event_id: str | None, is_stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """`progress` whenever something changed, the number of finished samples being its id, then one
    `done`, or `error` with the problem. Not what the client with this last event knows already.

    A server that stops, or whose database does, ends the stream before its time: the client
    connects again, with its last id.
    """
    told = None if last_event_id is None else ("running", last_event_id)
    spoke = time.monotonic()
    while not is_stopping():
        try:
            status = await jobs.status(job_id)
        except UnknownJob as error:
            yield sse("error", Problem(404, f"{error}: it has been cancelled").body(), LAST_ID)
            return
        except StorageUnavailable:
            return
        if status.status in ENDED:
            yield _last(status)
            return
        state = status.status, str(status.done)
        if state != told:
            yield sse("progress", status.model_dump(mode="json"), str(status.done))
            told, spoke = state, time.monotonic()
        elif time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            yield KEEP_ALIVE
            spoke = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


def _last(status: JobStatus) -> bytes:
    if status.status == "failed":
        return sse("error", Problem(500, str(status.detail)).body(), LAST_ID)
    if status.status == "expired":
        return sse("error", Problem(410, f"job {status.id} has expired").body(), LAST_ID)
    return sse("done", status.model_dump(mode="json"), LAST_ID)
