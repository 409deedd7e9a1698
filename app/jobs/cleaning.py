"""What the job database forgets, and what it brings back after its clock was set back."""

from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Update, delete, or_, select, tuple_, update

from app.jobs.database import Database, time_in, transaction
from app.jobs.tables import UNFINISHED, IdempotencyKey, Job, Sample

BATCH = 500
"""Rows of each kind that one transaction changes: others do not wait long to write."""
AHEAD_SECONDS = 60.0
"""How far a time may lie ahead that should not lie ahead at all."""
LEASES = 10
"""How many of one's own leases another server's may last."""


class Cleaning:
    """The clean-up of one database. Every method raises StorageUnavailable; methods that write
    raise StorageFull too."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @transaction
    async def expire(self, keep_seconds: float, key_seconds: float) -> bool:
        """Expire some of the jobs and keys that are past their time; whether there may be more. An
        expired job is remembered as such for `keep_seconds` more. No key of a synchronous request
        lives longer than `key_seconds` from now."""
        async with self.database.writing() as session:
            at = await time_in(session)
            is_past = Job.expires_at < at
            is_free = or_(Job.lease_until.is_(None), Job.lease_until < at)  # nobody runs it
            is_alive = Job.status.not_in(("expired", "deleted"))
            changes = (
                _some(is_past, Job.status == "expired").values(status="deleted", purged=False),
                _some(is_past, is_free, is_alive).values(
                    status="expired",
                    fence=Job.fence + 1,
                    expires_at=at + keep_seconds,
                    webhook_due=None,
                ),
                delete(IdempotencyKey).where(_some_keys(IdempotencyKey.expires_at < at)),
                # From before a shorter time was set, or before the clock was set back
                update(IdempotencyKey)
                .where(_some_keys(IdempotencyKey.expires_at > at + key_seconds + AHEAD_SECONDS))
                .values(expires_at=at + key_seconds),
            )
            changed = [
                cast(CursorResult[Any], await session.execute(change)).rowcount
                for change in changes
            ]
        return BATCH in changed

    @transaction
    async def to_purge(self) -> list[str]:
        """Ids of expired and deleted jobs whose files may still be there and nobody writes."""
        async with self.database.reading() as session:
            at = await time_in(session)
            query = select(Job.id).where(
                Job.status.in_(("deleted", "expired")),
                Job.purged.is_(False),
                or_(Job.lease_until.is_(None), Job.lease_until < at),
            )
            return list(await session.scalars(query))

    @transaction
    async def purge(self, job_id: str) -> None:
        """Note that a job's files are gone: forget its samples, and itself if it was deleted."""
        async with self.database.writing() as session:
            await session.execute(delete(Sample).where(Sample.job_id == job_id))
            await session.execute(delete(Job).where(Job.id == job_id, Job.status == "deleted"))
            await session.execute(
                update(Job).where(Job.id == job_id).values(purged=True, stored_bytes=0)
            )

    @transaction
    async def bring_back(self, lease_seconds: float, pause_seconds: float) -> None:
        """Bring back what lies too far ahead since the database's clock was set back: turns, leases
        of servers that died meanwhile, and calls of webhooks (after pauses of `pause_seconds` at
        most)."""
        async with self.database.writing() as session:
            at = await time_in(session)
            held = Job.status.in_((*UNFINISHED, "deleted"))
            for change in (
                update(Job)
                .where(Job.status.in_(UNFINISHED), Job.turn_at > at + AHEAD_SECONDS)
                .values(turn_at=at),
                update(Job)
                .where(held, Job.lease_until > at + LEASES * lease_seconds)
                .values(lease_until=at + lease_seconds),
                update(Job)
                .where(Job.webhook_due > at + pause_seconds + AHEAD_SECONDS)
                .values(webhook_due=at),
            ):
                await session.execute(change)


def _some(*conditions: ColumnElement[bool]) -> Update:
    """A change of some of the jobs to which the conditions apply."""
    ids = select(Job.id).where(*conditions).limit(BATCH)
    # Once more, for a job that somebody else changes between the two.
    return update(Job).where(Job.id.in_(ids), *conditions)


def _some_keys(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Is a key one of some of those without a job to which the condition applies?"""
    which = condition, IdempotencyKey.job_id.is_(None)
    row = tuple_(IdempotencyKey.client, IdempotencyKey.key)
    some = select(IdempotencyKey.client, IdempotencyKey.key).where(*which).limit(BATCH)
    return row.in_(some)
