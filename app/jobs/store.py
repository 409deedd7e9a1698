"""The job database: every question and every change, each of them one transaction.

SQLite serves one process, PostgreSQL several. When a method returns, its change is on disk. A job
is run by the process that holds its lease. Every claim gives the job a new fence, a number, and a
change under the lease is made only while the job still has that fence: a process that lost its
lease without noticing changes nothing.
"""

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from sqlalchemy import CursorResult, delete, func, insert, or_, select, true, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import undefer

from app.jobs.database import is_sqlite, make_engine, migrate, translated
from app.jobs.errors import (
    KeyOutdated,
    KeyReused,
    LostLease,
    StorageFull,
    TooManyJobs,
    TooManyOwnJobs,
    UnknownJob,
)
from app.jobs.keys import Key
from app.jobs.tables import UNFINISHED, IdempotencyKey, Job, Sample, Status, now
from app.tasks import finish

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Quota:
    """The most that is kept: unfinished jobs, and bytes of results, reserved or taken."""

    jobs: int
    size: int


@dataclass(frozen=True)
class Kept:
    """A sample whose file is whole in the result store. The fields are those of `tables.Sample`."""

    number: int
    size: int
    first_crc: int
    second_crc: int


@dataclass(frozen=True)
class SampleIndex:
    """The files of a job's samples, by number: sizes in bytes and two CRC-32, each int64 (n,)."""

    size: np.ndarray
    first_crc: np.ndarray
    second_crc: np.ndarray


Method = Callable[Concatenate["Store", P], Coroutine[Any, Any, T]]


def transaction(method: Method[P, T]) -> Method[P, T]:
    """A method of a store that runs to its end on SQLite, even when its caller is cancelled.

    A call of SQLite that is cancelled half-way goes on in its thread. It could leave a connection
    behind that holds the write lock, and nobody would ever close it. A call of PostgreSQL ends at
    once, also when the server does not answer.
    """

    @functools.wraps(method)
    async def whole(store: "Store", /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = method(store, *args, **kwargs)
        return await (finish(call) if is_sqlite(store.url) else call)

    return whole


class Store:
    """The jobs in the database at a URL of `database.parse_url`.

    Every method raises StorageUnavailable; methods that write raise StorageFull too.
    """

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

    @transaction
    async def remember(self, key: Key, made_by: str, seed: int, expiry_seconds: float) -> int:
        """The seed of the first request with this key; `seed`, if this is the first one.

        Raises KeyReused, or KeyOutdated when the first one was answered by another model.
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

    @transaction
    async def get(self, job_id: str, *, with_plan: bool = False) -> Job:
        """The job with this id; its plan is loaded only on demand. Raises UnknownJob."""
        options = [undefer(Job.plan)] if with_plan else []
        async with self._reading() as session:
            job = await session.get(Job, job_id, options=options)
        if job is None or job.status == "deleted":
            raise UnknownJob(f"there is no job {job_id[:80]!r}")
        return job

    @transaction
    async def clock(self) -> float:
        """The time on the database's clock, in Unix seconds."""
        async with self._reading() as session:
            return await _now(session)

    @transaction
    async def index(self, job_id: str) -> SampleIndex:
        """Sizes and CRC-32 of a job's samples."""
        columns = (Sample.size, Sample.first_crc, Sample.second_crc)
        query = select(*columns).where(Sample.job_id == job_id).order_by(Sample.number)
        async with self._reading() as session:
            rows = await session.stream(query)
            parts = [np.array(part, np.int64) async for part in rows.partitions(1000)]
        size, first, second = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        return SampleIndex(size, first, second)

    @transaction
    async def claim(self, owner: str, made_by: str, lease_seconds: float) -> Job | None:
        """Lease the job that waited longest for its turn, of those that `made_by` can run and that
        nobody holds; the job with its plan, or None."""
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

    @transaction
    async def extend(self, job: Job, lease_seconds: float) -> None:
        """Hold the lease for `lease_seconds` from now on. Raises LostLease."""
        async with self._writing() as session:
            until = await _now(session) + lease_seconds
            await _change(session, job, {"lease_until": until})

    @transaction
    async def missing(self, job: Job, limit: int) -> list[int]:
        """Numbers of the first samples that are not kept, `limit` at most."""
        kept_query = select(Sample.number).where(
            Sample.job_id == job.id, Sample.number >= job.next_number
        )
        async with self._reading() as session:
            kept = set(await session.scalars(kept_query))
        numbers = (i for i in range(job.next_number, job.total) if i not in kept)
        return [number for number, _ in zip(numbers, range(limit), strict=False)]

    @transaction
    async def record(self, job: Job, kept: Sequence[Kept]) -> None:
        """Note that these samples are whole in the result store. Raises LostLease."""
        rows = [{"job_id": job.id, **dataclasses.asdict(sample)} for sample in kept]
        async with self._writing() as session:
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

    @transaction
    async def release(self, job: Job, detail: str | None) -> None:
        """Give the lease back in the middle of a turn, and note why. Raises LostLease."""
        async with self._writing() as session:
            changes = {"lease_until": None, "turn_at": await _now(session), "detail": detail}
            await _change(session, job, changes)

    @transaction
    async def leave(self, job: Job) -> None:
        """Stop writing for a job whose lease is lost: if it has been deleted, its files can be
        removed now."""
        deleted = Job.id == job.id, Job.owner == job.owner, Job.status == "deleted"
        async with self._writing() as session:
            await session.execute(update(Job).where(*deleted).values(lease_until=None))

    @transaction
    async def fail(self, job: Job, reason: str) -> None:
        """Note that the job cannot be finished, and why. Raises LostLease."""
        async with self._writing() as session:
            at = await _now(session)
            await _change(
                session, job, {"lease_until": None, "detail": reason, **_ended(job, "failed", at)}
            )

    @transaction
    async def release_all(self) -> None:
        """End every lease; for when their holders are known to be dead."""
        async with self._writing() as session:
            await session.execute(
                update(Job).where(Job.lease_until.is_not(None)).values(lease_until=None)
            )

    @transaction
    async def delete(self, job_id: str) -> None:
        """Cancel a job and forget it with its key; its files are left to `to_purge`.

        Raises UnknownJob.
        """
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

    @transaction
    async def expire(self, keep_seconds: float) -> None:
        """Expire jobs and keys that are past their time. An expired job is remembered as such for
        `keep_seconds` more."""
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

    @transaction
    async def to_purge(self) -> list[str]:
        """Ids of expired and deleted jobs whose files may still be there and nobody writes."""
        async with self._reading() as session:
            at = await _now(session)
            query = select(Job.id).where(
                or_(Job.status == "deleted", Job.status == "expired"),
                or_(Job.lease_until.is_(None), Job.lease_until < at),
                or_(Job.purged.is_(False), Job.status == "deleted"),
            )
            return list(await session.scalars(query))

    @transaction
    async def purge(self, job_id: str) -> None:
        """Note that a job's files are gone: forget its samples, and itself if it was deleted."""
        async with self._writing() as session:
            await session.execute(delete(Sample).where(Sample.job_id == job_id))
            await session.execute(delete(Job).where(Job.id == job_id, Job.status == "deleted"))
            await session.execute(
                update(Job).where(Job.id == job_id).values(purged=True, stored_bytes=0)
            )

    @transaction
    async def due_webhook(self, pause: Sequence[float]) -> Job | None:
        """A job whose webhook is to be called now; None without one.

        Unless `called` is told, it is due again after `pause[k]` seconds, k being the number of
        earlier calls; after the last pause's call it is not due any more.
        """
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

    @transaction
    async def called(self, job_id: str) -> None:
        """Note that the job's webhook has been called with success."""
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
    """The key's row, if there is one. Raises KeyReused."""
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
    """Raises TooManyOwnJobs, TooManyJobs or StorageFull unless there is room for the job."""
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
