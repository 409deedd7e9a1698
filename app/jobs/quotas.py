"""How much is kept of jobs and keys: for one client, and for all of them."""

import math
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs.errors import StorageFull, TooManyJobs, TooManyKeys, TooManyOwnJobs, TooManyOwnKeys
from app.jobs.tables import UNFINISHED, IdempotencyKey, Job

BATCH = 500
"""Keys that one request forgets to make room, at most: others do not wait long to write."""
HOLD_SECONDS = 3600.0
"""The age of a key from which it may make room for another."""
IS_SYNCHRONOUS = IdempotencyKey.job_id.is_(None)
"""Is a key that of a request without a job?"""


@dataclass(frozen=True)
class Quota:
    """The most that is kept: unfinished jobs, bytes of results, reserved or taken, and jobs that
    are remembered, those that have ended too."""

    jobs: int
    size: int
    remembered: int = 10**9


@dataclass(frozen=True)
class KeyQuota:
    """The most Idempotency-Keys of synchronous requests that are kept: of all clients, of one. Each
    is kept for `seconds`, unless it has to make room before."""

    server: int
    client: int
    seconds: float

    def held_until(self, at: float) -> float:
        """When a key expires that is HOLD_SECONDS old at the time `at`. It and those that expire
        before it may make room; where keys are kept for a shorter time, none does."""
        return at + max(self.seconds - HOLD_SECONDS, 0.0)


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


async def make_room(session: AsyncSession, client: str, quota: KeyQuota, at: float) -> None:
    """Make room for one more key of the client: over a quota, forget the oldest keys that may go.
    Over the server's they are those of the client that has most of them.

    Raises TooManyOwnKeys or TooManyKeys where none may go.
    """
    own = IdempotencyKey.client == client
    over = await _count(session, own) - quota.client + 1
    if over > 0 and not await _forget(session, client, over, quota.held_until(at)):
        keeps = f"of one client this server keeps {quota.client}"
        raise TooManyOwnKeys(*await _refusal(session, own, keeps, quota.held_until(at)))
    over = await _count(session, true()) - quota.server + 1
    if over > 0:
        holder = await _largest_holder(session, quota.held_until(at))
        if holder is None or not await _forget(session, holder, over, quota.held_until(at)):
            keeps = f"this server keeps {quota.server}"
            raise TooManyKeys(*await _refusal(session, true(), keeps, quota.held_until(at)))


async def _count(session: AsyncSession, whose: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(IdempotencyKey).where(IS_SYNCHRONOUS, whose)
    return await session.scalar(query) or 0


async def _forget(session: AsyncSession, client: str, number: int, until: float) -> int:
    """Forget the client's oldest keys, `number` at most, of those that expire by `until`; how
    many."""
    row = tuple_(IdempotencyKey.client, IdempotencyKey.key)
    oldest = (
        select(IdempotencyKey.client, IdempotencyKey.key)
        .where(IS_SYNCHRONOUS, IdempotencyKey.client == client, IdempotencyKey.expires_at <= until)
        .order_by(IdempotencyKey.expires_at)
        .limit(min(number, BATCH))
        .with_for_update(skip_locked=True)  # another process may be at it
    )
    forgotten = delete(IdempotencyKey).where(row.in_(oldest))
    return cast(CursorResult[Any], await session.execute(forgotten)).rowcount


async def _largest_holder(session: AsyncSession, until: float) -> str | None:
    """The client that has most of the keys that expire by `until`; None if there are none."""
    query = (
        select(IdempotencyKey.client)
        .where(IS_SYNCHRONOUS, IdempotencyKey.expires_at <= until)
        .group_by(IdempotencyKey.client)
        .order_by(func.count().desc())
        .limit(1)
    )
    return await session.scalar(query)


async def _refusal(
    session: AsyncSession, whose: ColumnElement[bool], keeps: str, until: float
) -> tuple[str, int]:
    """What a client over a quota is told, and the seconds until one of these keys may go."""
    kept = await _count(session, whose)
    first = await session.scalar(
        select(func.min(IdempotencyKey.expires_at)).where(IS_SYNCHRONOUS, whose)
    )
    seconds = max(1, math.ceil((first or until) - until))
    return (
        f"Idempotency-Key: {kept} keys are remembered; {keeps}, and the oldest makes room in "
        f"{seconds} seconds: send the request without a key, or with Prefer: respond-async, whose "
        "key goes with its job",
        seconds,
    )
