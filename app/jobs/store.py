"""The job database: every question and every change, each one transaction.

SQLite for one process, PostgreSQL for several. What a method has returned from is on disk. A job is
run by whoever holds its lease; each change made under a lease carries the fence of the claim, so a
process that lost its lease without noticing changes nothing.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sqlalchemy import CursorResult, delete, func, insert, or_, select, true, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import undefer

from app.jobs.database import StorageFull, make_engine, migrate, translated
from app.jobs.tables import UNFINISHED, IdempotencyKey, Job, Sample, Status, now


class TooManyOwnJobs(Exception):
    """This client has as many unfinished jobs as one may."""


@dataclass(frozen=True)
class Quota:
    """What is kept at most: unfinished jobs, and bytes of results, reserved or taken."""

    jobs: int
    size: int


class TooManyJobs(Exception):
    """The queue of jobs is full."""


class LostLease(Exception):
    """The job belongs to another process now, or is gone."""


class UnknownJob(Exception):
    """There is no such job, or no more."""


class JobUnfinished(Exception):
    """There is no result yet, or never will be."""


class JobExpired(Exception):
    """There is no result any more."""


class KeyReused(Exception):
    """An Idempotency-Key came with another request than before."""


class KeyOutdated(Exception):
    """An Idempotency-Key's answer cannot be made again: another model is being served."""


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key as it came: what asks again with it must have the same fingerprint."""

    client: str
    key: str
    fingerprint: str  # SHA-256, hex


@dataclass(frozen=True)
class Kept:
    """A sample that is whole in the result store; see `tables.Sample`."""

    number: int
    size: int
    first_crc: int
    second_crc: int


@dataclass(frozen=True)
class SampleIndex:
    """int64 (n,), by number: the files' sizes in bytes, the two CRC-32 of each."""

    size: np.ndarray
    first_crc: np.ndarray
    second_crc: np.ndarray


class Store:
    """On a database of `database.parse_url`. Every method raises StorageUnavailable, those that
    write StorageFull too."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._engine = make_engine(url)
        self._writes = async_sessionmaker(self._engine, expire_on_commit=False)
        reading = self._engine.execution_options(only_reads=True)
        self._reads = async_sessionmaker(reading, expire_on_commit=False)

    async def open(self) -> None:
        """Make the tables, or bring them up to date."""
        await asyncio.to_thread(migrate, self.url)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def create(
        self, job: Job, key: Key | None, *, seed: int, server: Quota, client: Quota
    ) -> Job:
        """Add a waiting job, or return the one that `key` made before.

        Raises KeyReused, TooManyJobs or TooManyOwnJobs, or StorageFull over a quota (processes that
        admit in the same instant may together exceed it by what they admit).
        """
        try:
            return await self._create(job, key, seed, server, client)
        except IntegrityError:  # another process took the key in between: now it is there
            return await self._create(job, key, seed, server, client)

    async def _create(
        self, job: Job, key: Key | None, seed: int, server: Quota, client: Quota
    ) -> Job:
        async with self._writing() as session:
            known = key and await _known(session, key)
            if known:
                return await session.get_one(Job, known.job_id)
            await _check_room(session, job, server, client)
            expiry = job.expires_at - job.created_at
            job.created_at = job.turn_at = await _now(session)
            job.expires_at = job.created_at + expiry
            session.add(job)
            await session.flush()
            if key is not None:
                session.add(_key_row(key, job.made_by, seed, job.id, job.expires_at))
        return job

    async def remember(self, key: Key, made_by: str, seed: int, expiry_seconds: float) -> int:
        """The seed of the first request with this key: `seed`, if this is it.

        Raises KeyReused, or KeyOutdated when that was made by another model.
        """
        try:
            async with self._writing() as session:
                known = await _known(session, key)
                if known is None:
                    expires_at = await _now(session) + expiry_seconds
                    session.add(_key_row(key, made_by, seed, None, expires_at))
                    return seed
        except IntegrityError:
            return await self.remember(key, made_by, seed, expiry_seconds)
        if known.made_by != made_by:
            raise KeyOutdated(
                f"Idempotency-Key: {key.key!r} was answered by {known.made_by}, which is no longer "
                "served; another key gets an answer"
            )
        return known.seed

    async def get(self, job_id: str, *, with_plan: bool = False) -> Job:
        """The job. Raises UnknownJob."""
        options = [undefer(Job.plan)] if with_plan else []
        async with self._reading() as session:
            job = await session.get(Job, job_id, options=options)
        if job is None or job.status == "deleted":
            raise UnknownJob(f"there is no job {job_id[:80]!r}")
        return job

    async def clock(self) -> float:
        """The database's time."""
        async with self._reading() as session:
            return await _now(session)

    async def index(self, job_id: str) -> SampleIndex:
        """Sizes and CRCs of all its samples, in order."""
        columns = (Sample.size, Sample.first_crc, Sample.second_crc)
        query = select(*columns).where(Sample.job_id == job_id).order_by(Sample.number)
        async with self._reading() as session:
            rows = await session.stream(query)
            parts = [np.array(part, np.int64) async for part in rows.partitions(1000)]
        size, first, second = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        return SampleIndex(size, first, second)

    async def claim(self, owner: str, made_by: str, lease_seconds: float) -> Job | None:
        """The lease of the job that waited longest for a turn, of those that `made_by` can run and
        nobody holds; with its plan."""
        async with self._writing() as session:
            at = await _now(session)
            job = await session.scalar(
                select(Job)
                .where(Job.status.in_(UNFINISHED), Job.made_by == made_by)
                .where(or_(Job.lease_until.is_(None), Job.lease_until < at))
                .order_by(Job.turn_at)
                .limit(1)
                .options(undefer(Job.plan))
                .with_for_update(skip_locked=True)
            )
            if job is None:
                return None
            if job.owner != owner:
                job.resumed_at, job.resumed_done = at, job.done
            job.status, job.owner, job.detail = "running", owner, None
            job.started_at = job.started_at or at
            job.lease_until, job.fence = at + lease_seconds, job.fence + 1
            return job

    async def extend(self, job: Job, lease_seconds: float) -> None:
        """Keep the lease. Raises LostLease."""
        async with self._writing() as session:
            until = await _now(session) + lease_seconds
            await _change(session, job, {"lease_until": until})

    async def missing(self, job: Job, limit: int) -> list[int]:
        """The first `limit` numbers that are not kept."""
        kept_query = select(Sample.number).where(
            Sample.job_id == job.id, Sample.number >= job.next_number
        )
        async with self._reading() as session:
            kept = set(await session.scalars(kept_query))
        numbers = (i for i in range(job.next_number, job.total) if i not in kept)
        return [number for number, _ in zip(numbers, range(limit), strict=False)]

    async def record(self, job: Job, kept: Sequence[Kept]) -> None:
        """These samples are whole in the result store. Raises LostLease."""
        rows = [{"job_id": job.id, **dataclasses.asdict(sample)} for sample in kept]
        async with self._writing() as session:
            await _change(session, job, {"done": Job.done + len(rows)})
            await session.execute(insert(Sample), rows)

    async def end_turn(
        self, job: Job, next_number: int, seconds: float, expiry_seconds: float
    ) -> None:
        """Every sample before `next_number` is kept: the next turn, or it is finished.

        Raises LostLease.
        """
        async with self._writing() as session:
            at = await _now(session)
            changes: dict[str, Any] = {
                "next_number": next_number,
                "run_seconds": Job.run_seconds + seconds,
                "turn_at": at,
                "lease_until": None,
                "expires_at": at + expiry_seconds,
            }
            if next_number == job.total:
                taken = select(func.sum(Sample.size)).where(Sample.job_id == job.id)
                changes["stored_bytes"] = await session.scalar(taken)
                changes |= _ended(job, "finished", at)
            await _change(session, job, changes)

    async def release(self, job: Job, detail: str | None) -> None:
        """Give the lease back in the middle of a turn; `detail`: why. Raises LostLease."""
        async with self._writing() as session:
            changes = {"lease_until": None, "turn_at": await _now(session), "detail": detail}
            await _change(session, job, changes)

    async def leave(self, job: Job) -> None:
        """The lease is lost and nothing is written any more: if the job was deleted meanwhile, its
        files can be removed."""
        deleted = Job.id == job.id, Job.owner == job.owner, Job.status == "deleted"
        async with self._writing() as session:
            await session.execute(update(Job).where(*deleted).values(lease_until=None))

    async def fail(self, job: Job, reason: str) -> None:
        """It cannot be finished. Raises LostLease."""
        async with self._writing() as session:
            at = await _now(session)
            await _change(
                session, job, {"lease_until": None, "detail": reason, **_ended(job, "failed", at)}
            )

    async def release_all(self) -> None:
        """End every lease: whoever held them is dead."""
        async with self._writing() as session:
            await session.execute(
                update(Job).where(Job.lease_until.is_not(None)).values(lease_until=None)
            )

    async def delete(self, job_id: str) -> None:
        """Cancel it and forget it, with its key; its files go by `purge`. Raises UnknownJob."""
        async with self._writing() as session:
            found = await session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status != "deleted")
                .values(status="deleted", purged=False, fence=Job.fence + 1, webhook_due=None)
                .returning(Job.id)
            )
            await session.execute(delete(IdempotencyKey).where(IdempotencyKey.job_id == job_id))
            if found.scalar() is None:
                raise UnknownJob(f"there is no job {job_id[:80]!r}")

    async def expire(self, keep_seconds: float) -> None:
        """Jobs and keys past their time; for `keep_seconds` more it is known that a job was."""
        async with self._writing() as session:
            at = await _now(session)
            past = Job.expires_at < at
            free = or_(Job.lease_until.is_(None), Job.lease_until < at)
            await session.execute(
                update(Job).where(past, Job.status == "expired").values(status="deleted")
            )
            await session.execute(
                update(Job)
                .where(past, free, Job.status.not_in(("expired", "deleted")))
                .values(
                    status="expired",
                    fence=Job.fence + 1,
                    expires_at=at + keep_seconds,
                    webhook_due=None,
                )
            )
            await session.execute(
                delete(IdempotencyKey).where(
                    IdempotencyKey.expires_at < at, IdempotencyKey.job_id.is_(None)
                )
            )

    async def to_purge(self) -> list[str]:
        """Expired and deleted jobs whose files may still be there, and which nobody writes to."""
        async with self._reading() as session:
            at = await _now(session)
            query = select(Job.id).where(
                or_(Job.status == "deleted", Job.status == "expired"),
                or_(Job.lease_until.is_(None), Job.lease_until < at),
                or_(Job.purged.is_(False), Job.status == "deleted"),
            )
            return list(await session.scalars(query))

    async def purge(self, job_id: str) -> None:
        """Its files are gone; so is a deleted job, and what is known of an expired one's files."""
        async with self._writing() as session:
            await session.execute(delete(Sample).where(Sample.job_id == job_id))
            await session.execute(delete(Job).where(Job.id == job_id, Job.status == "deleted"))
            await session.execute(
                update(Job).where(Job.id == job_id).values(purged=True, stored_bytes=0)
            )

    async def due_webhook(self, pause: Sequence[float]) -> Job | None:
        """A job whose webhook is to be called now. It is due again after the pause that its number
        of attempts chooses from `pause`, and after the last never: unless `called` says so."""
        async with self._writing() as session:
            at = await _now(session)
            job = await session.scalar(
                select(Job)
                .where(Job.webhook_due < at)
                .order_by(Job.webhook_due)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if job is None:
                return None
            left = pause[job.webhook_attempts :]
            job.webhook_due = at + left[0] if left else None
            job.webhook_attempts += 1
            return job

    async def called(self, job_id: str) -> None:
        """The webhook has been called."""
        async with self._writing() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(webhook_due=None))

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with self._writes.begin() as session:
                yield session

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with self._reads() as session:
                yield session


async def _now(session: AsyncSession) -> float:
    return (await session.scalars(select(now()))).one()


async def _known(session: AsyncSession, key: Key) -> IdempotencyKey | None:
    """What is known of the key. Raises KeyReused."""
    known = await session.get(IdempotencyKey, (key.client, key.key))
    if known is not None and known.fingerprint != key.fingerprint:
        raise KeyReused(f"Idempotency-Key: {key.key!r} came with another request before")
    return known


def _key_row(
    key: Key, made_by: str, seed: int, job_id: str | None, expires_at: float
) -> IdempotencyKey:
    return IdempotencyKey(
        client=key.client,
        key=key.key,
        fingerprint=key.fingerprint,
        made_by=made_by,
        seed=seed,
        job_id=job_id,
        expires_at=expires_at,
    )


async def _check_room(session: AsyncSession, job: Job, server: Quota, client: Quota) -> None:
    """Raises TooManyOwnJobs, TooManyJobs or StorageFull."""
    own = Job.client == job.client
    for quota, mine, too_many, keeper in (
        (client, own, TooManyOwnJobs, "of one client this server"),
        (server, true(), TooManyJobs, "this server"),
    ):
        count = select(func.count()).select_from(Job).where(Job.status.in_(UNFINISHED), mine)
        unfinished = await session.scalar(count) or 0
        if unfinished >= quota.jobs:
            raise too_many(f"{unfinished} jobs are unfinished; {keeper} keeps {quota.jobs}")
        taken = int(await session.scalar(select(func.sum(Job.stored_bytes)).where(mine)) or 0)
        if taken + job.stored_bytes > quota.size:
            raise StorageFull(
                f"the job's results may take {job.stored_bytes} bytes; of the {quota.size} that "
                f"{keeper} keeps, {max(quota.size - taken, 0)} are left: DELETE jobs that are no "
                "longer needed, or wait until they expire"
            )


async def _change(session: AsyncSession, job: Job, changes: dict[str, Any]) -> None:
    """Change a job under its lease. Raises LostLease."""
    statement = update(Job).where(Job.id == job.id, Job.fence == job.fence).values(changes)
    changed = cast(CursorResult[Any], await session.execute(statement))
    if changed.rowcount != 1:
        raise LostLease(job.id)


def _ended(job: Job, status: Status, at: float) -> dict[str, Any]:
    due = None if job.webhook_url is None else at
    return {"status": status, "finished_at": at, "webhook_due": due}
