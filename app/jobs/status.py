"""What a client is told of its job."""

import json
from datetime import UTC, datetime

from app.generation.schemas.status import JobStatus
from app.jobs.errors import StorageUnavailable, first_line
from app.jobs.makers import version_for
from app.jobs.tables import UNFINISHED, Job
from app.pool.errors import OTHER_MACHINE
from app.pool.makers import can_go_on
from app.pool.pool import EnginePool


def describe(job: Job, at: float, pool: EnginePool) -> JobStatus:
    """A job's status at the time `at` of the database's clock; `pool` would have to run it here.

    Raises StorageUnavailable for a row that cannot be read.
    """
    try:
        return _describe(job, at, pool)
    except (ValueError, TypeError, OverflowError) as error:
        raise StorageUnavailable(
            f"the row of job {job.id} in the database is damaged, DELETE it: {first_line(error)}"
        ) from error


def _describe(job: Job, at: float, pool: EnginePool) -> JobStatus:
    rate = _rate(job, at)
    return JobStatus(
        **json.loads(job.header),
        kind=job.kind,
        status="waiting" if _is_abandoned(job, at) else job.status,
        detail=job.detail or _obstacle(job, at, pool),
        total=job.total,
        done=job.done,
        rate=rate and round(rate, 3),
        left_s=rate and round(_seconds_left(job, rate, at), 1),
        created_at=_date(job.created_at),
        started_at=job.started_at and _date(job.started_at),
        finished_at=job.finished_at and _date(job.finished_at),
        expires_at=_date(job.expires_at),
    )


def _rate(job: Job, at: float) -> float | None:
    """Samples a second over the turns that have ended since the job's present owner began; None
    when nobody runs the job, or no turn has ended yet.

    The time in which nobody ran it says nothing of the speed. Within a turn the samples are
    finished together, so the first ones say nothing of it, either.
    """
    if job.status != "running" or job.resumed_at is None or _is_abandoned(job, at):
        return None
    made, seconds = job.next_number - job.resumed_done, job.turn_at - job.resumed_at
    return made / seconds if made > 0 and seconds > 0 else None


def _is_abandoned(job: Job, at: float) -> bool:
    """Has the server died or stopped that ran it, and has none taken it over?"""
    if job.lease_until is None:  # between two turns, or given back in the middle of one
        return job.status == "running" and job.resumed_at is None
    return job.status == "running" and not _is_held(job, at)


def _is_held(job: Job, at: float) -> bool:
    """Does a server, this one or another, give it a turn?"""
    return job.lease_until is not None and job.lease_until >= at


def _seconds_left(job: Job, rate: float, at: float) -> float:
    """Seconds until the job is finished at that rate, counted from the end of its last turn."""
    return max(0.0, (job.total - job.next_number) / rate - (at - job.turn_at))


def _obstacle(job: Job, at: float, pool: EnginePool) -> str | None:
    """Why an unfinished job cannot be run by this server; None if it can, or another one that has
    what this one lacks does run it."""
    if job.status not in UNFINISHED:
        return None
    models = pool.models
    version = version_for(job.made_by, models)
    if version is None:
        if _is_held(job, at):
            return None
        if any(entry.version.known is None for entry in models):
            return "waits for the engine: the model is being loaded"
        return f"waits for a server that has its model's weights: {job.made_by}"
    if models.state(version) == "ready":
        is_there = any(can_go_on(job.made_by, info) for info in models.kinds(version))
        return None if is_there or _is_held(job, at) else f"waits: {OTHER_MACHINE}"
    detail = models.detail(version)
    return f"waits for the model {version.name} to be loaded" + (f": {detail}" if detail else "")


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
