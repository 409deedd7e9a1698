"""What a client is told of its job."""

import json
from datetime import UTC, datetime

from app.generation.schemas import JobStatus
from app.jobs.tables import UNFINISHED, Job
from app.jobs.worker import maker
from app.pool.errors import NotReady
from app.pool.pool import EnginePool


def describe(job: Job, at: float, pool: EnginePool) -> JobStatus:
    """A job's status at the time `at` of the database's clock; `pool` would have to run it here."""
    # Since its present owner began: the time in which nobody ran it says nothing of the speed.
    seconds = at - job.resumed_at if job.resumed_at is not None else 0.0
    made = job.done - job.resumed_done
    rate = made / seconds if made and seconds > 0 and job.status == "running" else None
    return JobStatus(
        **json.loads(job.header),
        kind=job.kind,
        status=job.status,
        detail=job.detail or _obstacle(job, pool),
        total=job.total,
        done=job.done,
        rate=rate and round(rate, 3),
        left_s=rate and round((job.total - job.done) / rate, 1),
        created_at=_date(job.created_at),
        started_at=job.started_at and _date(job.started_at),
        finished_at=job.finished_at and _date(job.finished_at),
        expires_at=_date(job.expires_at),
    )


def _obstacle(job: Job, pool: EnginePool) -> str | None:
    """Why an unfinished job cannot be run by this server; None if it can."""
    if job.status not in UNFINISHED:
        return None
    try:
        served = maker(pool.model)
    except NotReady as error:
        return f"waits for the engine: {error}"
    if job.made_by == served:
        return None
    return f"waits for a server that runs {job.made_by}; this one runs {served}"


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
