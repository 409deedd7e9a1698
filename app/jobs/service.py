"""Jobs as the routes see them: accept, look, cancel; and everything that runs behind them.

The rest of the server does not depend on it: without a database or a disk, synchronous requests are
answered as before, jobs are refused with the reason, and it is tried again until it works.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
from filelock import FileLock, Timeout

from app.generation.plan import Plan
from app.generation.schemas import JobStatus
from app.jobs import webhook
from app.jobs.database import StorageFull, StorageUnavailable, database_url, is_sqlite
from app.jobs.representations import Stored
from app.jobs.result_store import ResultStore, bound_bytes
from app.jobs.store import JobExpired, JobUnfinished, Key, Quota, Store, UnknownJob
from app.jobs.tables import Job, Kind
from app.jobs.worker import PLANS, Terms, Worker
from app.pool.errors import NotReady
from app.pool.pool import EnginePool
from app.settings import Settings
from app.tasks import end, together
from app.wire.messages import ModelInfo

log = logging.getLogger(__name__)

OPEN_SECONDS = 5.0
"""How often to try, while the storage cannot be used."""
CLEAN_SECONDS = 30.0
THREADS = 2
CALL_SECONDS = 1.0
CALLERS = 4
"""Webhooks called at once: one that does not answer holds up few others."""
SHARED_SECONDS, ALONE_SECONDS = 1.0, 10.0
"""How often to look for jobs in a database that others use too, and in one that nobody else does:
there, only those whose lease ran out can turn up."""
CHUNK_BATCHES = 2
"""Batches of samples in a chunk: more delay other jobs, fewer leave the engine idle between."""


def maker(model: ModelInfo) -> str:
    """Who makes the same bytes: the weights, and how and on what kind of device they are run."""
    device = model.device.partition(":")[0]
    return f"{model.name} {model.sha256} {model.runtime} {model.precision} {device}"


class Jobs:
    """All jobs of one server. Methods raise StorageUnavailable with the reason while there is no
    storage."""

    def __init__(self, settings: Settings, pool: EnginePool) -> None:
        self._settings = settings
        self._pool = pool
        self._results = ResultStore(settings.results_url)
        self._database = database_url(settings.jobs_url, settings.jobs_folder)
        self._reason: str | None = "the storage of jobs is being opened"
        self._opened: Store | None = None
        self._worker: Worker | None = None
        self._deleted = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the storage and work on jobs, as long as the block lasts."""
        # Threads of their own: a slow disk holds up nobody else's pictures.
        with ThreadPoolExecutor(THREADS, "jobs") as threads:
            task = asyncio.create_task(self._run(threads))
            try:
                yield
            finally:
                await end([task])

    @property
    def _store(self) -> Store:
        if self._opened is None:
            raise StorageUnavailable(str(self._reason))
        return self._opened

    async def submit(
        self, client: str, kind: Kind, plan: Plan, key: Key | None, webhook_url: str | None
    ) -> JobStatus:
        """A job that is on disk, or the one that the key made before.

        Raises StorageFull, TooManyJobs, TooManyOwnJobs, KeyReused.
        """
        settings = self._settings
        size = bound_bytes(plan)
        await asyncio.to_thread(self._check_disk, size)
        text = await asyncio.to_thread(PLANS.dump_json, plan)
        job = Job(
            id=plan.submit.id,
            client=client,
            kind=kind,
            header=json.dumps(plan.header),
            plan=text.decode(),
            made_by=maker(self._pool.model),
            status="waiting",
            total=len(plan.submit.indices),
            stored_bytes=size,
            created_at=0.0,  # the database's clock says when
            expires_at=float(settings.jobs_expiry_seconds),
            webhook_url=webhook_url,
        )
        accepted = await self._store.create(
            job,
            key,
            seed=plan.submit.seed,
            server=Quota(settings.max_jobs, settings.jobs_budget_bytes),
            client=Quota(settings.max_client_jobs, settings.jobs_client_bytes),
        )
        if self._worker is not None:
            self._worker.wake()
        return self._describe(accepted, accepted.created_at)

    async def remember(self, key: Key, seed: int) -> int:
        """The seed of the first request with this key. Raises KeyReused or KeyOutdated."""
        made_by = maker(self._pool.model)
        return await self._store.remember(key, made_by, seed, self._settings.jobs_expiry_seconds)

    async def status(self, job_id: str) -> JobStatus:
        """How far it is. Raises UnknownJob."""
        job = await self._store.get(job_id)
        return self._describe(job, await self._store.clock())

    async def result(self, job_id: str) -> Stored:
        """What a finished job made. Raises UnknownJob, JobUnfinished or JobExpired."""
        job = await self._store.get(job_id, with_plan=True)
        if job.status == "expired":
            raise JobExpired(f"the result of job {job_id} was kept until it expired")
        if job.status == "failed":
            raise JobUnfinished(f"job {job_id} has no result, it failed: {job.detail}")
        if job.status != "finished":
            progress = f"{job.done} of {job.total} samples are made"
            raise JobUnfinished(f"job {job_id} is {job.status}: {progress}")
        plan = await asyncio.to_thread(PLANS.validate_json, job.plan)
        started = job.started_at or job.created_at
        timing = {
            "queued_s": round(started - job.created_at, 6),
            "compute_s": round(job.run_seconds, 6),
        }
        index = await self._store.index(job_id)
        return Stored(job.kind, plan, timing, self._results, index)

    async def check_owner(self, job_id: str, client: str) -> None:
        """Raises UnknownJob unless the job is this client's."""
        job = await self._store.get(job_id)
        if job.client != client:
            raise UnknownJob(f"there is no job {job_id[:80]!r}")

    async def delete(self, job_id: str) -> None:
        """Cancel and forget. Raises UnknownJob."""
        await self._store.delete(job_id)
        if self._worker is not None:
            await self._worker.cancel(job_id)
        self._deleted.set()

    def _check_disk(self, size: int) -> None:
        free = self._results.free_bytes() if self._opened is not None else None
        if free is not None and size > free:
            raise StorageFull(
                f"the job's results may take {size} bytes, the server's disk has {free} left: "
                "DELETE jobs that are no longer needed, or ask for fewer samples"
            )

    def _describe(self, job: Job, at: float) -> JobStatus:
        header = json.loads(job.header)
        seconds = at - job.resumed_at if job.resumed_at is not None else 0.0
        made = job.done - job.resumed_done
        rate = made / seconds if made and seconds > 0 and job.status == "running" else None
        return JobStatus(
            **header,
            kind=job.kind,
            status=job.status,
            detail=job.detail or self._obstacle(job),
            total=job.total,
            done=job.done,
            rate=rate and round(rate, 3),
            left_s=rate and round((job.total - job.done) / rate, 1),
            created_at=_date(job.created_at),
            started_at=job.started_at and _date(job.started_at),
            finished_at=job.finished_at and _date(job.finished_at),
            expires_at=_date(job.expires_at),
        )

    def _obstacle(self, job: Job) -> str | None:
        """Why a job cannot be run here, if it cannot."""
        if job.status not in ("waiting", "running"):
            return None
        try:
            served = maker(self._pool.model)
        except NotReady as error:
            return f"waits for the engine: {error}"
        if job.made_by == served:
            return None
        return f"waits for a server that runs {job.made_by}; this one runs {served}"

    async def _run(self, threads: Executor) -> None:
        """Open, work, and do so again when that fails."""
        while True:
            try:
                async with self._open() as store:
                    await self._work(store, threads)
            except (StorageUnavailable, StorageFull) as error:
                if self._reason != str(error):
                    log.warning("no jobs are accepted: %s", error)
                self._reason = str(error)
            except Exception as error:
                self._reason = f"an error of the server's own: {error!r}"
                log.exception("jobs stopped; they are started again")
            await asyncio.sleep(OPEN_SECONDS)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Store]:
        """The store, for this process alone where it is SQLite."""
        url = self._database
        with contextlib.ExitStack() as stack:
            if is_sqlite(url):
                stack.enter_context(_locked(Path(str(url.database))))
            await asyncio.to_thread(self._results.open)
            store = Store(url)
            try:
                await store.open()
                if is_sqlite(url):
                    await store.release_all()  # the lock says that nobody else is alive
                yield store
            finally:
                self._opened = self._worker = None
                await store.close()

    async def _work(self, store: Store, threads: Executor) -> None:
        settings = self._settings
        terms = Terms(
            owner=uuid4().hex,
            chunk=CHUNK_BATCHES * settings.max_batch,
            lease_seconds=float(settings.jobs_lease_seconds),
            expiry_seconds=float(settings.jobs_expiry_seconds),
            idle_seconds=ALONE_SECONDS if is_sqlite(self._database) else SHARED_SECONDS,
        )
        self._worker = Worker(store, self._results, self._pool, threads, terms, self._made_by)
        self._opened, self._reason = store, None
        never, looking = asyncio.Event(), asyncio.Lock()
        # Without a secret no job may have a webhook; one from before waits for the secret.
        callers = CALLERS if settings.webhook_secret.get_secret_value() else 0
        await together(
            self._worker.run(),
            _repeatedly(lambda: self._clean(store), CLEAN_SECONDS, self._deleted),
            *(
                _repeatedly(lambda: self._call(store, looking), CALL_SECONDS, never)
                for _ in range(callers)
            ),
        )

    def _made_by(self) -> str:
        return maker(self._pool.model)

    async def _clean(self, store: Store) -> None:
        """Expire what is past its time, and remove the files of what is expired or deleted."""
        await store.expire(self._settings.jobs_expiry_seconds)
        for job_id in await store.to_purge():
            await asyncio.to_thread(self._results.remove, job_id)
            await store.purge(job_id)

    async def _call(self, store: Store, looking: asyncio.Lock) -> None:
        """Call webhooks as they become due; of all callers, one looks for them at a time."""
        while True:
            async with looking:
                while (job := await store.due_webhook(webhook.PAUSE_SECONDS)) is None:
                    await asyncio.sleep(CALL_SECONDS)
            await self._call_one(store, job)

    async def _call_one(self, store: Store, job: Job) -> None:
        settings = self._settings
        body = self._describe(job, await store.clock()).model_dump_json().encode()
        try:
            await webhook.call(
                str(job.webhook_url),
                body,
                secret=settings.webhook_secret.get_secret_value(),
                private=settings.webhook_private,
            )
        except (webhook.BadAddress, httpx.HTTPError) as error:
            log.warning(
                "job %s: call %d of its webhook failed: %r", job.id, job.webhook_attempts, error
            )
        else:
            await store.called(job.id)


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@contextlib.contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Hold a lock file beside the database. Raises StorageUnavailable."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{database}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise StorageUnavailable(
            f"another server uses {database}: give this one another folder (DDPM_JOBS_FOLDER), or "
            "both a PostgreSQL database (DDPM_JOBS_URL)"
        ) from None
    except OSError as error:
        raise StorageUnavailable(f"{database.parent} cannot be used: {error}") from error
    try:
        yield
    finally:
        lock.release()


async def _repeatedly(
    act: Callable[[], Awaitable[None]], seconds: float, at_once: asyncio.Event
) -> None:
    """Again and again; sooner when `at_once` is set."""
    while True:
        at_once.clear()
        try:
            await act()
        except (StorageUnavailable, StorageFull) as error:
            log.error("%s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await at_once.wait()
