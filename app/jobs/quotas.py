"""How much is kept of jobs and keys: for one client, and for all of them."""

import math
from dataclasses import dataclass

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs.errors import (
    StorageFull,
    TooManyJobs,
    TooManyKeys,
    TooManyOwnJobs,
    TooManyOwnKeys,
)
from app.jobs.tables import UNFINISHED, IdempotencyKey, Job


@dataclass(frozen=True)
class Quota:
    """The most that is kept: unfinished jobs, bytes of results, reserved or taken, and jobs that
    are remembered, those that have ended too."""

    jobs: int
    size: int
    remembered: int = 10**9


@dataclass(frozen=True)
class KeyQuota:
    """The most Idempotency-Keys of synchronous requests that are kept: of all clients, of one."""

    server: int
    client: int


async def check_room(session: AsyncSession, job: Job, server: Quota, client: Quota) -> None:
    """Raises TooManyOwnJobs, TooManyJobs or StorageFull unless there is room for the job."""
    for quota, mine, too_many, keeper in (
        (client, Job.client == job.client, TooManyOwnJobs, "of one client this server"),
        (server, true(), TooManyJobs, "this server"),
    ):
        unfinished = func.count().filter(Job.status.in_(UNFINISHED))
        totals = select(unfinished, func.count(), func.sum(Job.stored_bytes)).where(mine)
        open_jobs, remembered, size = (await session.execute(totals)).one()
        if open_jobs >= quota.jobs:
            raise too_many(f"{open_jobs} jobs are unfinished; {keeper} keeps {quota.jobs}")
        if remembered >= quota.remembered:
            raise StorageFull(
                f"{remembered} jobs are kept, with those that have ended; {keeper} keeps "
                f"{quota.remembered}: DELETE jobs that are no longer needed, or wait until they "
                "expire"
            )
        left = max(quota.size - int(size or 0), 0)
        if job.stored_bytes > left:
            raise StorageFull(
                f"the job's results may take {job.stored_bytes} bytes; of the {quota.size} that "
                f"{keeper} keeps, {left} are left: DELETE jobs that are no longer needed, or wait "
                "until they expire"
            )


async def check_keys(session: AsyncSession, client: str, quota: KeyQuota, at: float) -> None:
    """Raises TooManyOwnKeys or TooManyKeys unless there is room for one more key of the client."""
    for most, mine, too_many, keeper in (
        (
            quota.client,
            IdempotencyKey.client == client,
            TooManyOwnKeys,
            "of one client this server",
        ),
        (quota.server, true(), TooManyKeys, "this server"),
    ):
        seeds = IdempotencyKey.job_id.is_(None), mine
        kept = await session.scalar(select(func.count()).select_from(IdempotencyKey).where(*seeds))
        if kept is not None and kept >= most:
            first = await session.scalar(select(func.min(IdempotencyKey.expires_at)).where(*seeds))
            seconds = max(1, math.ceil((first or at) - at))
            raise too_many(
                f"Idempotency-Key: {kept} keys are remembered; {keeper} keeps {most}, and the "
                f"next one expires in {seconds} seconds: send the request without a key, or with "
                "Prefer: respond-async, whose key goes with its job",
                seconds,
            )
