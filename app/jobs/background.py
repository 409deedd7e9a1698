"""What runs behind jobs: the storage is opened, samples are made, files removed, webhooks called.

When the storage cannot be used, all of this stops, the reason is kept for whoever asks for a job,
and opening it is tried again until it works.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from app.jobs import sqlite_file
from app.jobs.callers import PAUSE_SECONDS, Callers
from app.jobs.clock import ClockWatch
from app.jobs.database import database_url, is_sqlite
from app.jobs.errors import StorageDamaged, StorageError, StorageUnavailable
from app.jobs.outage import Outage
from app.jobs.result_store import ResultStore
from app.jobs.store import Store
from app.jobs.worker import CHUNK_BATCHES, Terms, Worker
from app.pool.pool import EnginePool
from app.settings import Settings
from app.tasks import Supervised, together

log = logging.getLogger("ddpm.jobs")

OPENING = "the storage of jobs is being opened"
FIRST_SECONDS = 10.0
"""How long a server that starts waits for its storage before it says that it is ready."""
OPEN_SECONDS = 5.0
"""Pause before the storage is opened again."""
CLEAN_SECONDS = 30.0
"""How often to look for files that nobody needs."""
THREADS = 2
"""Threads that write samples."""
STOP_SECONDS = 8.0
"""How long a server that stops waits for its jobs to be left as they are: what becomes of them is
noted, and the database closed. On a disk that does not answer, neither ever ends."""
SHARED_SECONDS, ALONE_SECONDS = 1.0, 10.0
"""How often to look for jobs in a database that others use too, and in one that nobody else does:
there, only those whose lease ran out can turn up."""


class Background:
    """The storage of a server's jobs, and the work on them while it is open."""

    def __init__(
        self, settings: Settings, pool: EnginePool, limits_of: Callable[[str], Settings]
    ) -> None:
        """`limits_of` tells the limits of a client by its name."""
        self.results = ResultStore(settings.results_url)
        self._settings = settings
        self._url = database_url(settings.jobs_url, settings.jobs_folder)
        self._pool = pool
        self._limits_of = limits_of
        self._reason: str | None = OPENING
        self._begun = -math.inf  # to open it
        self._store: Store | None = None
        self._worker: Worker | None = None
        self._deleted = asyncio.Event()
        self._kept: set[str] = set()  # jobs whose files could not be removed

    @contextlib.asynccontextmanager
    async def running(self, on_unusable: Callable[[str], None]) -> AsyncIterator[None]:
        """Open the storage and work on jobs, as long as the block lasts; `on_unusable` is told the
        reason when that cannot go on."""
        # Threads of their own: a slow disk holds up nobody else's pictures.
        threads = ThreadPoolExecutor(THREADS, "jobs")
        tasks = Supervised(on_unusable)
        self._begun = time.monotonic()
        tasks.start("the work on jobs", self._run(threads))
        try:
            yield
        finally:
            stopping = asyncio.create_task(tasks.stop())
            _, late = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
            if late:
                log.error("the storage of jobs does not answer: it is left as it is")
            # Not waiting: a sample's file that is cut off is none, whenever its thread ends
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def is_opening(self) -> bool:
        """Is the storage being opened for the first time, and not for long yet? A disk may never
        answer."""
        is_first = self._store is None and self._reason == OPENING
        return is_first and time.monotonic() < self._begun + FIRST_SECONDS

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
                reason = f"an error in the server: {error!r}"
                if self._reason != reason:
                    log.exception(
                        "jobs stopped because of an error in the server; they are started again"
                    )
                self._reason = reason
            await asyncio.sleep(OPEN_SECONDS)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Store]:
        """The database with its tables, for this process alone where it is SQLite."""
        url = self._url
        database = Path(str(url.database))
        with sqlite_file.locked(database) if is_sqlite(url) else contextlib.nullcontext():
            await asyncio.to_thread(self.results.open)
            if is_sqlite(url):
                await asyncio.to_thread(sqlite_file.check, database, self.results)
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
        """Run jobs, clean up and call webhooks, until the first of these fails; nothing that goes
        wrong with the other two ends them."""
        settings = self._settings
        terms = Terms(
            owner=uuid4().hex,
            chunk=CHUNK_BATCHES * settings.max_batch if settings.max_batch else None,
            lease_seconds=float(settings.jobs_lease_seconds),
            expiry_seconds=float(settings.jobs_expiry_seconds),
            idle_seconds=ALONE_SECONDS if is_sqlite(self._url) else SHARED_SECONDS,
        )
        self._worker = worker = Worker(
            store.leases, self.results, self._pool, threads, terms, self._limits_of
        )
        self._pool.models.on_news = worker.wake
        self._store, self._reason = store, None
        clock = ClockWatch()
        works = [
            self._worker.run(),
            _repeatedly(lambda: self._clean(store, clock), CLEAN_SECONDS, self._deleted),
        ]
        # Without a secret no job may have a webhook; one from before waits for the secret.
        if settings.webhook_secret.get_secret_value():
            works.append(Callers(store, self._pool, settings).run())
        await together(*works)

    async def _clean(self, store: Store, clock: ClockWatch) -> None:
        """Expire what is past its time, and remove the files of expired and deleted jobs."""
        settings, cleaning = self._settings, store.cleaning
        await cleaning.bring_back(float(settings.jobs_lease_seconds), max(PAUSE_SECONDS))
        if clock.trusts(await store.clock()):
            while await cleaning.expire(settings.jobs_expiry_seconds, settings.keys_expiry_seconds):
                pass
        unneeded = await cleaning.to_purge()
        self._kept &= set(unneeded)
        for job_id in unneeded:
            try:
                await asyncio.to_thread(self.results.remove, job_id)
            except StorageError as error:
                self._note_kept(job_id, error)
                continue
            await cleaning.purge(job_id)

    def _note_kept(self, job_id: str, error: StorageError) -> None:
        """Log, once for each job, that its files cannot be removed now."""
        if job_id not in self._kept:
            log.error("the files of job %s are still there, and removed later: %s", job_id, error)
            self._kept.add(job_id)


async def _repeatedly(
    act: Callable[[], Awaitable[None]], seconds: float, at_once: asyncio.Event
) -> None:
    """Act, for ever, `seconds` apart; sooner when `at_once` is set. Errors are logged, an outage of
    the storage once; StorageDamaged is raised: whoever opens the storage says what to do."""
    outage = Outage("nothing is cleaned up now")
    while True:
        at_once.clear()  # before acting: what is set meanwhile is not lost
        try:
            await act()
            outage.end()
        except StorageDamaged:
            raise
        except StorageError as error:
            outage.note(error)
        except Exception:
            log.exception("an error in the server; this is tried again every %g seconds", seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await at_once.wait()
