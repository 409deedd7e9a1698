"""Calls of webhooks as they become due: a few at once, of which no host and no client has all."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor

import httpx

from app.jobs import webhook
from app.jobs.errors import StorageError
from app.jobs.outage import Outage
from app.jobs.status import describe
from app.jobs.store import Store
from app.jobs.tables import Job
from app.pool.pool import EnginePool
from app.settings import Settings
from app.tasks import end

log = logging.getLogger("ddpm.jobs")

PAUSE_SECONDS = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
"""Pauses after failed calls, in order; a call that fails after the last pause is the last one."""
LOOK_SECONDS = 1.0
"""How often to look for a webhook that is due."""
RETRY_SECONDS = 5.0
"""Pause after an error of the database."""
CALLS = 8
"""Calls at once: one that is not answered holds up few others."""
SHARE = 2
"""Calls at once that go to one host, or are one client's: the webhooks of others overtake."""


class Callers:
    """The calls of the webhooks in one database by one process."""

    def __init__(self, store: Store, pool: EnginePool, settings: Settings) -> None:
        self._store = store
        self._pool = pool
        self._settings = settings
        self._outage = Outage("no webhook can be called now")
        self._calls: dict[asyncio.Task[None], Job] = {}  # those in flight

    async def run(self) -> None:
        """Call webhooks as they become due, for ever. No failure ends it."""
        # Threads of their own: a name server that does not answer holds up nothing else.
        threads = ThreadPoolExecutor(CALLS, "webhook-names")
        try:
            while True:
                if not await self._begin_call(threads):
                    await self._wait()
        finally:
            await end(self._calls)
            threads.shutdown(wait=False, cancel_futures=True)

    async def _begin_call(self, threads: Executor) -> bool:
        """Begin the call that is due, if there is room for one; whether one has begun."""
        if len(self._calls) >= CALLS:
            return False
        running = self._calls.values()
        hosts = _busy(str(job.webhook_host) for job in running)
        clients = _busy(job.client for job in running)
        try:
            job = await self._store.due_webhook(PAUSE_SECONDS, hosts, clients)
        except StorageError as error:
            self._outage.note(error)
        except Exception:
            log.exception("an error in the server; webhooks are looked for again")
        else:
            self._outage.end()
            if job is not None:
                self._calls[asyncio.create_task(self._call(job, threads))] = job
            return job is not None
        await asyncio.sleep(RETRY_SECONDS)
        return False

    async def _wait(self) -> None:
        """Until it is time to look again."""
        if not self._calls:
            await asyncio.sleep(LOOK_SECONDS)
            return
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait(self._calls, timeout=LOOK_SECONDS, return_when=first)
        for call in done:
            del self._calls[call]

    async def _call(self, job: Job, threads: Executor) -> None:
        """Tell a webhook once that its job has ended. Whatever goes wrong is one failed call: the
        database has noted already when the next one is due."""
        settings = self._settings
        try:
            status = describe(job, await self._store.clock(), self._pool)
            if not await self._store.awaits_call(job):
                return
            await webhook.call(
                str(job.webhook_url),
                status.model_dump_json().encode(),
                threads,
                secret=settings.webhook_secret.get_secret_value(),
                private=settings.webhook_private,
            )
            await self._store.called(job.id)
        except StorageError as error:
            self._outage.note(error)
        except Exception as error:
            number, reason = job.webhook_attempts, _reason(error)
            log.warning("job %s: call %d of its webhook failed: %s", job.id, number, reason)


def _busy(names: Iterable[str]) -> list[str]:
    """The names that have their share of the calls."""
    return [name for name, calls in Counter(names).items() if calls >= SHARE]


def _reason(error: Exception) -> str:
    """What went wrong; without the URL, which may have a secret in it."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it was answered with {error.response.status_code}"
    return repr(error)
