"""The job database as clients and webhooks see it.

Every question and every change is one transaction. When a method returns, its change is on disk.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.jobs.cleaning import Cleaning
from app.jobs.database import Database, migrate, time_in, transaction
from app.jobs.errors import KeyOutdated, KeyReused, UnknownJob
from app.jobs.keys import Key
from app.jobs.leases import Leases
from app.jobs.quotas import KeyQuota, Quota, check_room, make_room
from app.jobs.tables import IdempotencyKey, Job, Sample

MAX_VALUES = 1000
"""Values that one statement names, at most."""


@dataclass(frozen=True)
class SampleIndex:
    """The files of a job's samples, by number: sizes in bytes and two CRC-32, each int64 (n,)."""

    size: np.ndarray
    first_crc: np.ndarray
    second_crc: np.ndarray


class Store:
    """The jobs in the database at a URL of `database.parse_url`; `leases` has what runs them,
    `cleaning` what forgets them.

    Every method raises StorageUnavailable; methods that write raise StorageFull too.
    """

    def __init__(self, url: URL) -> None:
        self.database = Database(url)
        self.leases = Leases(self.database)
        self.cleaning = Cleaning(self.database)

    async def open(self) -> None:
        """Make the tables, or bring them up to date."""
        await asyncio.to_thread(migrate, self.database.url)

    async def close(self) -> None:
        """Close every connection."""
        await self.database.close()

    @transaction
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
        async with self.database.writing() as session:
            known = key and await _known(session, key)
            if known:
                return await session.get_one(Job, known.job_id)
            await check_room(session, job, server, client)
            # The times are the database's: servers' clocks may differ.
            expiry = job.expires_at - job.created_at
            job.created_at = job.turn_at = await time_in(session)
            job.expires_at = job.created_at + expiry
            session.add(job)
            await session.flush()  # the key's row refers to the job's
            if key is not None:
                session.add(_key_row(key, job.made_by, seed, job.id, job.expires_at))
        return job

    @transaction
    async def remember(
        self, key: Key, made_by: Sequence[str], seed: int, quota: KeyQuota
    ) -> tuple[int, str]:
        """The seed of the first request with this key, and who made it; `seed` and the first of
        `made_by`, if this is the first one. They are all who could make it now.

        Raises KeyReused, or KeyOutdated when the first one was answered by another; TooManyOwnKeys
        or TooManyKeys.
        """
        try:
            async with self.database.writing() as session:
                known = await _known(session, key)
                if known is None:
                    at = await time_in(session)
                    await make_room(session, key.client, quota, at)
                    session.add(_key_row(key, made_by[0], seed, None, at + quota.seconds))
                    return seed, made_by[0]
        except IntegrityError:  # another process took the key in between
            return await self.remember(key, made_by, seed, quota)
        if known.made_by not in made_by:
            raise KeyOutdated(
                f"Idempotency-Key: {key.key!r} was answered by a model whose weights are no longer "
                "served, or on another kind of machine; another key gets an answer"
            )
        return known.seed, known.made_by

    @transaction
    async def get(self, job_id: str, *, with_plan: bool = False) -> Job:
        """The job with this id; its plan is loaded only on demand. Raises UnknownJob."""
        options = [undefer(Job.plan)] if with_plan else []
        async with self.database.reading() as session:
            job = await session.get(Job, job_id, options=options)
        if job is None or job.status == "deleted":
            raise UnknownJob(f"there is no job {job_id[:80]!r}")
        return job

    @transaction
    async def clock(self) -> float:
        """The time on the database's clock, in Unix seconds."""
        async with self.database.reading() as session:
            return await time_in(session)

    @transaction
    async def index(self, job_id: str) -> SampleIndex:
        """Sizes and CRC-32 of a job's samples."""
        columns = (Sample.size, Sample.first_crc, Sample.second_crc)
        query = select(*columns).where(Sample.job_id == job_id).order_by(Sample.number)
        async with self.database.reading() as session:
            rows = await session.stream(query)
            # A thousand rows at a time: a job may have 50,000 samples, and a row object is large.
            parts = [np.array(part, np.int64) async for part in rows.partitions(1000)]
        size, first, second = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        return SampleIndex(size, first, second)

    @transaction
    async def lose(self, job_id: str, numbers: Sequence[int], failure: str | None) -> bool:
        """Forget samples of a finished job, so that it goes on with these; with `failure`, it fails
        for that reason. A webhook that has not been heard waits for the job's new end. Returns
        False if the job is not finished any more: nothing changes."""
        async with self.database.writing() as session:
            found = await session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status == "finished")
                .values(
                    status="waiting" if failure is None else "failed",
                    detail=failure,
                    done=Job.done - len(numbers),
                    next_number=min(numbers),
                    finished_at=Job.finished_at if failure else None,
                    turn_at=await time_in(session),
                    webhook_due=Job.webhook_due if failure else None,
                )
                .returning(Job.id)
            )
            if found.scalar() is None:
                return False
            for start in range(0, len(numbers), MAX_VALUES):
                some = Sample.number.in_(numbers[start : start + MAX_VALUES])
                await session.execute(delete(Sample).where(Sample.job_id == job_id, some))
        return True

    @transaction
    async def delete(self, job_id: str) -> None:
        """Cancel a job and forget it with its key; its files are left to `cleaning`.

        Raises UnknownJob.
        """
        async with self.database.writing() as session:
            found = await session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status != "deleted")
                # The new fence stops the process that runs the job at its next change.
                .values(status="deleted", purged=False, fence=Job.fence + 1, webhook_due=None)
                .returning(Job.id)
            )
            await session.execute(delete(IdempotencyKey).where(IdempotencyKey.job_id == job_id))
            if found.scalar() is None:
                raise UnknownJob(f"there is no job {job_id[:80]!r}")

    @transaction
    async def due_webhook(
        self, pause: Sequence[float], hosts: Sequence[str] = (), clients: Sequence[str] = ()
    ) -> Job | None:
        """A job whose webhook is to be called now, that is not of these hosts or clients; None
        without one.

        Unless `called` is told, it is due again after `pause[k]` seconds, k being the number of
        earlier calls; after the last pause's call it is not due any more.
        """
        async with self.database.writing() as session:
            at = await time_in(session)
            job = await session.scalar(
                select(Job)
                .where(Job.webhook_due < at)
                .where(Job.webhook_host.not_in(hosts), Job.client.not_in(clients))
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

    @transaction
    async def awaits_call(self, job: Job) -> bool:
        """Is the call of a job's webhook still that of whom `due_webhook` gave it? Not where this
        process was stopped meanwhile, and another one has called, or does."""
        number = select(Job.webhook_attempts).where(
            Job.id == job.id, Job.webhook_url.is_not(None), Job.status != "deleted"
        )
        async with self.database.reading() as session:
            return await session.scalar(number) == job.webhook_attempts

    @transaction
    async def called(self, job_id: str) -> None:
        """Note that the job's webhook has been called with success, by forgetting it: a job whose
        lost samples are made again ends twice, and calls once."""
        heard = {"webhook_url": None, "webhook_due": None}
        async with self.database.writing() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(heard))


async def _known(session: AsyncSession, key: Key) -> IdempotencyKey | None:
    """The key's row, if there is one. Raises KeyReused."""
    known = await session.get(IdempotencyKey, (key.client, key.key))
    if known is not None and known.fingerprint != key.fingerprint:
        raise KeyReused(f"Idempotency-Key: {key.key!r} was used with another request before")
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
