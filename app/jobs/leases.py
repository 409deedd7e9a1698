"""Who runs which job: a job is run by the process that holds its lease, turn by turn.

Every claim gives the job a new fence, a number, and a change under the lease is made only while the
job still has that fence: a process that lost its lease without noticing changes nothing.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.jobs.database import Database, time_in, transaction
from app.jobs.errors import LostLease
from app.jobs.tables import UNFINISHED, Job, Sample, Status, now

STOPPED: dict[str, Any] = {"lease_until": None, "resumed_at": None}
"""What changes when a job is given back in the middle of a turn: until the next claim nobody runs
it."""

MAX_SERVED = 1000
"""Clients whose last turn is remembered, at most."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """A sample whose file is whole in the result store. The fields are those of `tables.Sample`."""

    number: int
    size: int
    first_crc: int
    second_crc: int


class Leases:
    """The turns of jobs in one database. Every method raises StorageUnavailable; methods that write
    raise StorageFull too."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._served: dict[str, float] = {}  # when a client's job was claimed last, oldest first

    @transaction
    async def claim(self, owner: str, made_by: Collection[str], lease_seconds: float) -> Job | None:
        """Lease the job that is next, of those that one of the makers `made_by` can run and that
        nobody holds; the job with its plan, or None.

        It is of the client who waited longest for a turn, so that many jobs of one client do not
        hold up another's; and of that client's jobs, the one that waited longest.
        """
        async with self.database.writing() as session:
            at = await time_in(session)
            job = await self._next(session, made_by, at)
            if job is None:
                return None
            self._note(job.client, at)
            # The rate counts from here: nothing is known of the speed of the owner before, and
            # while nobody ran the job, it made no progress.
            if job.owner != owner or job.resumed_at is None:
                job.resumed_at, job.resumed_done = at, job.done
            job.status, job.owner, job.detail = "running", owner, None
            job.started_at = job.started_at or at
            job.lease_until, job.fence = at + lease_seconds, job.fence + 1
            return job

    async def _next(self, session: AsyncSession, made_by: Collection[str], at: float) -> Job | None:
        free = (
            Job.status.in_(UNFINISHED),
            Job.made_by.in_(made_by),
            or_(Job.lease_until.is_(None), Job.lease_until < at),
        )
        first_turns = select(Job.client, func.min(Job.turn_at)).where(*free).group_by(Job.client)
        since = {
            client: max(turn_at, self._last_turn(client, at))
            for client, turn_at in await session.execute(first_turns)
        }
        for client in sorted(since, key=lambda client: since[client]):
            job = await session.scalar(
                select(Job)
                .where(*free, Job.client == client)
                .order_by(Job.turn_at)
                .limit(1)
                .options(undefer(Job.plan))
                .with_for_update(skip_locked=True)  # two that claim at once get different jobs
            )
            if job is not None:
                return job
        return None

    @transaction
    async def makers(self) -> set[str]:
        """The makers of all unfinished jobs."""
        query = select(Job.made_by).where(Job.status.in_(UNFINISHED)).distinct()
        async with self.database.reading() as session:
            return set(await session.scalars(query))

    def _last_turn(self, client: str, at: float) -> float:
        """When the client's last turn began; 0 if that is not known, or after now: the clock was
        set back."""
        began = self._served.get(client, 0.0)
        return began if began <= at else 0.0

    def _note(self, client: str, at: float) -> None:
        """Remember that it was the client's turn, of the last MAX_SERVED clients."""
        self._served.pop(client, None)
        self._served[client] = at
        if len(self._served) > MAX_SERVED:
            del self._served[next(iter(self._served))]

    @transaction
    async def extend(self, job: Job, lease_seconds: float) -> None:
        """Hold the lease for `lease_seconds` from now on. Raises LostLease."""
        async with self.database.writing() as session:
            until = await time_in(session) + lease_seconds
            await _change(session, job, {"lease_until": until})

    @transaction
    async def missing(self, job: Job, limit: int) -> list[int]:
        """Numbers of the first samples that are not kept, `limit` at most."""
        kept_query = select(Sample.number).where(
            Sample.job_id == job.id, Sample.number >= job.next_number
        )
        async with self.database.reading() as session:
            kept = set(await session.scalars(kept_query))
        # A chunk's samples finish in any order, so after a crash there may be gaps.
        numbers = (i for i in range(job.next_number, job.total) if i not in kept)
        return [number for number, _ in zip(numbers, range(limit), strict=False)]

    @transaction
    async def record(self, job: Job, kept: Sequence[Kept]) -> None:
        """Note that these samples are whole in the result store. Raises LostLease."""
        rows = [{"job_id": job.id, **dataclasses.asdict(sample)} for sample in kept]
        async with self.database.writing() as session:
            await _change(session, job, {"done": Job.done + len(rows)})
            await session.execute(insert(Sample), rows)

    @transaction
    async def end_turn(
        self, job: Job, next_number: int, seconds: float, expiry_seconds: float
    ) -> None:
        """Give the lease back after `seconds` of work. As every sample before `next_number` is
        kept, the job waits for its next turn, or it is finished.

        Raises LostLease.
        """
        async with self.database.writing() as session:
            at = await time_in(session)
            changes: dict[str, Any] = {
                "next_number": next_number,
                "run_seconds": Job.run_seconds + seconds,
                "turn_at": at,
                "lease_until": None,
                "expires_at": at + expiry_seconds,  # a job that still makes progress is kept
            }
            if next_number == job.total:
                taken = select(func.sum(Sample.size)).where(Sample.job_id == job.id)
                changes["stored_bytes"] = await session.scalar(taken)
                changes |= _ended("finished", at)
            await _change(session, job, changes)

    @transaction
    async def release(self, job: Job, detail: str | None) -> None:
        """Give the lease back in the middle of a turn, and note why. Raises LostLease."""
        async with self.database.writing() as session:
            at = await time_in(session)
            await _change(session, job, {**STOPPED, "turn_at": at, "detail": detail})

    @transaction
    async def leave(self, job: Job) -> bool:
        """Stop writing for a job whose lease is lost: if it has been deleted, its files can be
        removed now. Returns whether they have been removed already, and what was written since is
        nobody's."""
        deleted = Job.id == job.id, Job.owner == job.owner, Job.status == "deleted"
        async with self.database.writing() as session:
            await session.execute(update(Job).where(*deleted).values(lease_until=None))
            are_removed = await session.scalar(select(Job.purged).where(Job.id == job.id))
        return are_removed is not False

    @transaction
    async def fail(self, job: Job, reason: str) -> None:
        """Note that the job cannot be finished, and why. Raises LostLease."""
        async with self.database.writing() as session:
            at = await time_in(session)
            await _change(
                session, job, {"lease_until": None, "detail": reason, **_ended("failed", at)}
            )

    @transaction
    async def release_all(self) -> None:
        """End every lease; for when their holders are known to be dead."""
        async with self.database.writing() as session:
            runs = or_(Job.lease_until.is_not(None), Job.status.in_(UNFINISHED))
            await session.execute(update(Job).where(runs).values(STOPPED))


async def _change(session: AsyncSession, job: Job, changes: dict[str, Any]) -> None:
    """Change a job under its lease. Raises LostLease."""
    statement = update(Job).where(Job.id == job.id, Job.fence == job.fence).values(changes)
    changed = cast(CursorResult[Any], await session.execute(statement))
    if changed.rowcount != 1:
        raise LostLease(job.id)


def _ended(status: Status, at: float) -> dict[str, Any]:
    # Whether there is a webhook is asked now: it may have been called since the job was claimed.
    due = case((Job.webhook_url.is_not(None), now()))
    return {"status": status, "finished_at": at, "webhook_due": due}
