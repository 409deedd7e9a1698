"""What can be asked of jobs: submit one, look at it, fetch its result, delete it.

The rest of the server does not depend on jobs: while their storage cannot be used, synchronous
requests are answered as before, and every method here raises StorageUnavailable with the reason.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from app.generation.plan import Plan
from app.generation.schemas.status import JobStatus
from app.jobs.background import Background
from app.jobs.errors import (
    JobExpired,
    JobTooLarge,
    JobUnfinished,
    NoWebhooks,
    ResultLost,
    SampleLost,
    StorageFull,
    StorageUnavailable,
    UnknownJob,
    first_line,
)
from app.jobs.keys import Key
from app.jobs.makers import version_for
from app.jobs.plans import read_plan, write_plan
from app.jobs.quotas import KeyQuota, Quota
from app.jobs.representations import Stored
from app.jobs.result_store import bound_bytes
from app.jobs.status import describe
from app.jobs.tables import Job, Kind
from app.jobs.webhook_url import check_url, host_of
from app.pool.errors import NotReady
from app.pool.makers import maker, names
from app.pool.pool import EnginePool
from app.pool.version import name_of
from app.settings import Settings
from app.wire.messages import Submit
from app.wire.model_info import ModelInfo

log = logging.getLogger("ddpm.jobs")

DISK_SECONDS = 5.0
"""How long a new job waits for what the disk of the results has left."""


class Jobs:
    """All jobs of one server."""

    def __init__(
        self,
        settings: Settings,
        pool: EnginePool,
        limits_of: Callable[[str], Settings] | None = None,
    ) -> None:
        """`limits_of` tells the limits of a client by its name; None: all have the server's."""
        self._settings = settings
        self._pool = pool
        self._background = Background(settings, pool, limits_of or (lambda _: settings))

    def running(self, on_unusable: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Open the storage and work on jobs, as long as the block lasts; `on_unusable` is told the
        reason when that cannot go on."""
        return self._background.running(on_unusable)

    @property
    def is_opening(self) -> bool:
        """Is it not known yet whether jobs can be stored?"""
        return self._background.is_opening

    async def submit(
        self,
        client: str,
        kind: Kind,
        plan: Plan,
        key: Key | None,
        webhook_url: str | None,
        limits: Settings | None = None,
    ) -> JobStatus:
        """Accept a client's job, or find the one that `key` made before. It is on disk then.
        `limits` are the server's settings as they are for this client; None: as for every client.

        Raises JobTooLarge, NoWebhooks or BadWebhook for what is never accepted; StorageFull,
        TooManyJobs or TooManyOwnJobs for what is not accepted now; KeyReused; NotReady.
        """
        limits = limits or self._settings
        size = bound_bytes(plan)
        self._check_size(size, limits)
        if webhook_url is not None:
            self._check_webhook(webhook_url)
        store = self._background.store
        await self._check_disk(size)
        text = await asyncio.to_thread(write_plan, plan)
        settings = self._settings
        job = self._row(client, kind, plan, text, webhook_url)
        kept, own_kept = settings.max_kept_jobs, settings.max_client_kept_jobs
        accepted = await store.create(
            job,
            key,
            seed=plan.submit.seed,
            server=Quota(settings.max_jobs, settings.jobs_budget_bytes, kept),
            client=Quota(limits.max_client_jobs, limits.jobs_client_bytes, own_kept),
        )
        self._background.wake()
        return describe(accepted, accepted.created_at, self._pool)

    async def remember(self, key: Key, submit: Submit) -> tuple[int, str]:
        """The seed of the first request with this key, and who makes its bytes; those of `submit`,
        if this is the first one.

        Raises KeyReused or KeyOutdated; TooManyOwnKeys or TooManyKeys.
        """
        made_by = [name for info in self._kinds(submit) for name in names(info)]
        settings = self._settings
        seconds = float(settings.keys_expiry_seconds)
        quota = KeyQuota(settings.max_keys, settings.max_client_keys, seconds)
        return await self._background.store.remember(key, made_by, submit.seed, quota)

    async def status(self, job_id: str) -> JobStatus:
        """How far a job is. Raises UnknownJob."""
        store = self._background.store
        job = await store.get(job_id)
        return describe(job, await store.clock(), self._pool)

    async def result(self, job_id: str) -> Stored:
        """What a finished job made. Raises UnknownJob, JobUnfinished or JobExpired."""
        store = self._background.store
        job = await store.get(job_id, with_plan=True)
        if job.status == "expired":
            raise JobExpired(f"the result of job {job_id} was kept until it expired")
        if job.status == "failed":
            raise JobUnfinished(f"job {job_id} has no result, it failed: {job.detail}")
        if job.status != "finished":
            progress = f"{job.done} of {job.total} samples are made"
            raise JobUnfinished(f"job {job_id} is {job.status}: {progress}")
        try:
            plan = await asyncio.to_thread(read_plan, job.plan)
        except ValueError as error:
            raise JobUnfinished(
                f"job {job_id} has no result, its plan in the database cannot be read: "
                f"{first_line(error)}"
            ) from None
        started = job.started_at or job.created_at
        timing = {
            "queued_s": round(started - job.created_at, 6),
            "compute_s": round(job.run_seconds, 6),
        }
        index = await store.index(job_id)
        return Stored(job.kind, plan, timing, self._background.results, index)

    async def repair(self, stored: Stored, lost: SampleLost) -> ResultLost:
        """Have the lost samples of a finished job made again, or fail the job if another model is
        served now. Returns what to tell the client.

        Raises StorageUnavailable, and what `result` does of a job that has failed or is changed.
        """
        store, job_id = self._background.store, stored.plan.submit.id
        job = await store.get(job_id)
        numbers = sorted({lost.number, *await asyncio.to_thread(stored.lost)})
        what = f"{len(numbers)} of the {stored.n} stored samples are lost ({lost})"
        failure = None
        models = self._pool.models
        version = version_for(job.made_by, models)
        # A model that has never been loaded may be the one.
        all_known = all(entry.version.known is not None for entry in models)
        if version.is_lost if version is not None else all_known:
            failure = f"{what}; this server no longer has the weights that made them"
        is_changed = await store.lose(job_id, numbers, failure)
        if failure is not None or not is_changed:
            await self.result(job_id)
        log.error("job %s: %s; they are made again", job_id, what)
        self._background.wake()
        return ResultLost(f"{what}; they are made again")

    async def check_owner(self, job_id: str, client: str) -> None:
        """Raises UnknownJob unless there is such a job and it is this client's."""
        job = await self._background.store.get(job_id)
        # Word for word as for an id that does not exist: which ids exist is nobody else's business.
        if job.client != client:
            raise UnknownJob(f"there is no job {job_id[:80]!r}")

    async def delete(self, job_id: str) -> None:
        """Cancel a job and forget it; its files are removed soon after. Raises UnknownJob."""
        # First the database: whatever happens next, no process goes on with the job.
        await self._background.store.delete(job_id)
        await self._background.cancel(job_id)

    def _kinds(self, submit: Submit) -> list[ModelInfo]:
        """What engines say of the version that a plan is made for: as `Models.kinds` has it, but
        never empty. Raises NotReady for one that has been replaced since."""
        version = self._pool.models.version(submit.model)
        if version is None:
            raise NotReady(f"the model {name_of(submit.model)} has been replaced; ask again", 1)
        return self._pool.models.kinds(version) or [self._pool.models.info(version)]

    def _row(self, client: str, kind: Kind, plan: Plan, text: str, webhook_url: str | None) -> Job:
        """A new job's row in the database; `text` is its plan. Raises NotReady."""
        return Job(
            id=plan.submit.id,
            client=client,
            kind=kind,
            header=json.dumps(plan.header),
            plan=text,
            made_by=maker(self._kinds(plan.submit)[0]),
            status="waiting",
            total=len(plan.submit.indices),
            stored_bytes=bound_bytes(plan),
            created_at=0.0,  # the database's clock says when
            expires_at=float(self._settings.jobs_expiry_seconds),
            webhook_url=webhook_url,
            webhook_host=webhook_url and host_of(webhook_url),
        )

    def _check_size(self, size: int, limits: Settings) -> None:
        limit = min(limits.jobs_budget_bytes, limits.jobs_client_bytes)
        if size > limit:
            raise JobTooLarge(
                f"the job's results may take {size} bytes; this server keeps {limit} for one "
                "client: ask for fewer samples or frames"
            )

    def _check_webhook(self, url: str) -> None:
        if not self._settings.webhook_secret.get_secret_value():
            raise NoWebhooks(
                "X-Webhook-URL: this server calls no webhooks: it has no secret to sign them with"
            )
        check_url(url, private=self._settings.webhook_private)

    async def _check_disk(self, size: int) -> None:
        try:
            async with asyncio.timeout(DISK_SECONDS):  # a network disk may never answer
                free = await asyncio.to_thread(self._background.results.free_bytes)
        except TimeoutError:
            raise StorageUnavailable(
                f"the disk of the jobs' results did not answer within {DISK_SECONDS:g} seconds"
            ) from None
        if free is not None and size > free:
            raise StorageFull(
                f"the job's results may take {size} bytes, the server's disk has {free} left: "
                "DELETE jobs that are no longer needed, or ask for fewer samples"
            )
