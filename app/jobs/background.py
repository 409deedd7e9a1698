"""What runs behind jobs: the storage is opened, samples are made, files removed, webhooks called.

When the storage cannot be used, all of this stops, the reason is kept for whoever asks for a job,
and opening it is tried again until it works.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
from filelock import FileLock, Timeout

from app.jobs import webhook
from app.jobs.database import database_url, is_sqlite
from app.jobs.errors import BadAddress, StorageError, StorageUnavailable
from app.jobs.result_store import ResultStore
from app.jobs.status import describe
from app.jobs.store import Store
from app.jobs.tables import Job
from app.jobs.worker import Terms, Worker
from app.pool.pool import EnginePool
from app.settings import Settings
from app.tasks import Supervised, together

log = logging.getLogger("ddpm.jobs")

OPEN_SECONDS = 5.0
"""Pause before the storage is opened again."""
CLEAN_SECONDS = 30.0
"""How often to look for files that nobody needs."""
THREADS = 2
"""Threads that write samples."""
CALL_SECONDS = 1.0
"""How often to look for a webhook that is due."""
CALLERS = 4
"""Webhooks called at once: one that does not answer holds up few others."""
SHARED_SECONDS, ALONE_SECONDS = 1.0, 10.0
"""How often to look for jobs in a database that others use too, and in one that nobody else does:
there, only those whose lease ran out can turn up."""
CHUNK_BATCHES = 2
"""Batches of samples in a chunk: more delay other jobs, fewer leave the engine idle between."""


class Background:
    """The storage of a server's jobs, and the work on them while it is open."""

    def __init__(self, settings: Settings, pool: EnginePool) -> None:
        self.results = ResultStore(settings.results_url)
        self._settings = settings
        self._url = database_url(settings.jobs_url, settings.jobs_folder)
        self._pool = pool
        self._reason: str | None = "the storage of jobs is being opened"
        self._store: Store | None = None
        self._worker: Worker | None = None
        self._deleted = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self, on_unusable: Callable[[str], None]) -> AsyncIterator[None]:
        """Open the storage and work on jobs, as long as the block lasts; `on_unusable` is told the
        reason when that cannot go on."""
        # Threads of their own: a slow disk holds up nobody else's pictures.
        with ThreadPoolExecutor(THREADS, "jobs") as threads:
            tasks = Supervised(on_unusable)
            tasks.start("the work on jobs", self._run(threads))
            try:
                yield
            finally:
                await tasks.stop()

    @property
    def store(self) -> Store:
        """The open database. Raises StorageUnavailable with the reason when it is not open."""
        if self._store is None:
            raise StorageUnavailable(str(self._reason))
        return self._store

    def wake(self) -> None:
        """Look for a job at once: there is a new one."""
        if self._worker is not None:
            self._worker.wake()

    async def cancel(self, job_id: str) -> None:
        """Stop working on a deleted job, and remove its files soon."""
        if self._worker is not None:
            await self._worker.cancel(job_id)
        self._deleted.set()

    async def _run(self, threads: Executor) -> None:
        """Open the storage and work, for ever: again after each failure."""
        while True:
            try:
                async with self._open() as store:
                    await self._work(store, threads)
            except StorageError as error:
                if self._reason != str(error):  # once, not every few seconds
                    log.warning("no jobs are accepted: %s", error)
                self._reason = str(error)
            except Exception as error:
                self._reason = f"an error in the server: {error!r}"
                log.exception(
                    "jobs stopped because of an error in the server; they are started again"
                )
            await asyncio.sleep(OPEN_SECONDS)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Store]:
        """The database with its tables, for this process alone where it is SQLite."""
        url = self._url
        with contextlib.ExitStack() as stack:
            if is_sqlite(url):
                stack.enter_context(_locked(Path(str(url.database))))
            await asyncio.to_thread(self.results.open)
            store = Store(url)
            try:
                await store.open()
                if is_sqlite(url):
                    await store.leases.release_all()  # the lock says that nobody else is alive
                yield store
            finally:
                self._store = self._worker = None
                await store.close()

    async def _work(self, store: Store, threads: Executor) -> None:
        """Run jobs, clean up and call webhooks, until one of these fails."""
        settings = self._settings
        terms = Terms(
            owner=uuid4().hex,
            chunk=CHUNK_BATCHES * settings.max_batch,
            lease_seconds=float(settings.jobs_lease_seconds),
            expiry_seconds=float(settings.jobs_expiry_seconds),
            idle_seconds=ALONE_SECONDS if is_sqlite(self._url) else SHARED_SECONDS,
        )
        self._worker = Worker(store.leases, self.results, self._pool, threads, terms)
        self._store, self._reason = store, None
        never, looking = asyncio.Event(), asyncio.Lock()
        # Without a secret no job may have a webhook; one from before waits for the secret.
        callers = CALLERS if settings.webhook_secret.get_secret_value() else 0
        await together(
            self._worker.run(),
            _repeatedly(lambda: self._clean(store), CLEAN_SECONDS, self._deleted),
            *(
                _repeatedly(lambda: self._call_webhooks(store, looking), CALL_SECONDS, never)
                for _ in range(callers)
            ),
        )

    async def _clean(self, store: Store) -> None:
        """Expire what is past its time, and remove the files of expired and deleted jobs."""
        await store.expire(self._settings.jobs_expiry_seconds)
        for job_id in await store.to_purge():
            await asyncio.to_thread(self.results.remove, job_id)
            await store.purge(job_id)

    async def _call_webhooks(self, store: Store, looking: asyncio.Lock) -> None:
        """Call webhooks as they become due; of all callers, one looks for them at a time."""
        while True:
            async with looking:
                while (job := await store.due_webhook(webhook.PAUSE_SECONDS)) is None:
                    await asyncio.sleep(CALL_SECONDS)
            await self._call_webhook(store, job)

    async def _call_webhook(self, store: Store, job: Job) -> None:
        """Tell a webhook once that its job has ended."""
        settings = self._settings
        body = describe(job, await store.clock(), self._pool).model_dump_json().encode()
        try:
            await webhook.call(
                str(job.webhook_url),
                body,
                secret=settings.webhook_secret.get_secret_value(),
                private=settings.webhook_private,
            )
        except (BadAddress, httpx.HTTPError) as error:
            log.warning(
                "job %s: call %d of its webhook failed: %r", job.id, job.webhook_attempts, error
            )
        else:
            await store.called(job.id)


@contextlib.contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Hold the lock file beside an SQLite database. Raises StorageUnavailable if another does."""
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
    """Act, for ever, `seconds` apart; sooner when `at_once` is set. Storage errors are logged."""
    while True:
        at_once.clear()  # before acting: what is set meanwhile is not lost
        try:
            await act()
        except StorageError as error:
            log.error("%s", error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await at_once.wait()
