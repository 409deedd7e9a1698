"""Makes the samples of jobs: turn by turn, one chunk of samples in each turn.

Jobs take turns, so a small job waits for a chunk of a large one and not for its end; few chunks are
in flight, and the engine lets interactive requests overtake them. A sample is kept as soon as it is
finished. What is not the job's own fault (no engine, a full queue, a full disk, no database) makes
it wait; it never fails the job.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from app.generation.plan import Plan
from app.jobs.chunk import Chunk
from app.jobs.endings import REFUSED_SECONDS, RETRY_SECONDS, settle
from app.jobs.errors import StorageDamaged, StorageError, first_line
from app.jobs.heartbeat import heartbeat
from app.jobs.leases import Leases
from app.jobs.makers import version_for, versions_by_maker
from app.jobs.outage import Outage
from app.jobs.plans import read_plan
from app.jobs.result_store import ResultStore, image_bytes
from app.jobs.tables import Job
from app.pool.admission import Bounds
from app.pool.pool import EnginePool
from app.pool.version import Version
from app.settings import Settings
from app.tasks import end, finish, together
from app.wire.messages import Done, Failed, Finished, Frame

log = logging.getLogger("ddpm.jobs")

A = TypeVar("A")
T = TypeVar("T")
CHUNK_BATCHES = 2
"""Batches of samples in a chunk: more delay other jobs, fewer leave the engine idle between."""
SLOTS = 2
"""Jobs that have their turn at once: while the tail of one chunk runs, another fills the batch."""
CHUNK_BYTES = 24 << 20
"""Frames of unfinished samples that a slot holds, unless one sample has more."""
RECORD_SECONDS = 0.25
"""Finished samples are recorded together, this often."""
SETTLE_SECONDS = 3.0
"""How long a server that stops waits for the database to note what becomes of a job. Without the
note the job waits until its lease runs out."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """How one process works on jobs: under which name, how much at a time, how long."""

    owner: str
    chunk: int | None  # samples; None: as many as CHUNK_BATCHES batches of the engine have
    lease_seconds: float
    expiry_seconds: float
    idle_seconds: float  # how often to look for jobs that other processes accepted or left


class Worker:
    """The turns that one process gives to jobs."""

    def __init__(
        self,
        leases: Leases,
        results: ResultStore,
        pool: EnginePool,
        threads: Executor,
        terms: Terms,
        limits_of: Callable[[str], Settings],
    ) -> None:
        """`limits_of` tells the limits of a client by its name, as they are at the moment."""
        self._leases = leases
        self._results = results
        self._pool = pool
        self._threads = threads
        self._terms = terms
        self._limits_of = limits_of
        self._turns: dict[asyncio.Task[float], str] = {}  # to the job's id
        self._news = asyncio.Event()
        self._outage = Outage("no job can be run now")
        self._looking = asyncio.Lock()  # for a job: one slot at a time

    async def run(self) -> None:
        """Run jobs, until an error ends it: StorageDamaged, or one of this server's own."""
        await together(*(self._take_turns() for _ in range(SLOTS)))

    def wake(self) -> None:
        """Look for a job at once: there is a new one, or what models can be used has changed."""
        self._news.set()

    async def cancel(self, job_id: str) -> None:
        """End the job's turn, if it has one here; its samples leave the engine at the next step."""
        await end([turn for turn, running in self._turns.items() if running == job_id])

    async def _take_turns(self) -> None:
        """Give one job after another its turn, for ever."""
        while True:
            try:
                async with self._looking:
                    job = await self._next()
            except StorageDamaged:
                raise  # nothing more is written to it; whoever opens it says what to do
            except StorageError as error:
                self._outage.note(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            turn = asyncio.create_task(self._turn(job))
            self._turns[turn] = job.id
            try:
                await asyncio.wait({turn})
            finally:
                await end([turn])
                del self._turns[turn]
            await asyncio.sleep(_pause_after(turn))
            self._news.set()  # the job may wait for its next turn, and the other slot be looking

    async def _next(self) -> Job:
        """The lease of a job, as soon as there is one and an engine that has its model."""
        terms = self._terms
        while True:
            if not self._pool.ready_engines:
                if self._pool.models.is_resting:
                    await self._makers()
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            self._news.clear()  # before looking: a job that comes meanwhile is not overlooked
            made_by = await self._makers()
            job = await self._leases.claim(terms.owner, made_by, terms.lease_seconds)
            self._outage.end()
            if job is not None:
                return job
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(terms.idle_seconds):
                    await self._news.wait()

    async def _makers(self) -> list[str]:
        """Whose jobs can be run now, or never again; what other unfinished jobs need is loaded."""
        models = self._pool.models
        served = versions_by_maker(models)
        if models.are_several or models.is_resting:
            waiting = await self._leases.makers()
            needed = {served[made_by] for made_by in waiting if made_by in served}
            models.note_jobs({version.key for version in needed})
            for version in needed:
                models.want(version)
        return [
            made_by
            for made_by, version in served.items()
            if models.is_free(version) or version.is_lost
        ]

    async def _turn(self, job: Job) -> float:
        """Run one chunk of the job; the seconds to pause after it. What goes wrong, cancellation
        included, ends up in the job."""
        try:
            async with heartbeat(self._leases, job, self._terms.lease_seconds):
                await self._advance(job)
        except (Exception, asyncio.CancelledError) as error:
            # A server that stops cancels this again and again, until it ends
            return await finish(settle(self._leases, job, error, self._remove), SETTLE_SECONDS)
        return 0.0

    async def _remove(self, job: Job) -> None:
        """Remove what this process has written of a job after that was forgotten with its files: it
        was paused for longer than its lease."""
        try:
            await self._in_thread(self._results.remove, job.id)
        except StorageError as error:
            log.error("files of job %s, which is forgotten, are still there: %s", job.id, error)

    async def _advance(self, job: Job) -> None:
        """Run the first missing samples, keep each of them, and record what is kept."""
        started, models = time.monotonic(), self._pool.models
        version = version_for(job.made_by, models)
        if version is None or version.is_lost:
            why = "" if version is None else f": {version.failure}"
            reason = f"the weights that it was begun with are no longer served{why}"
            await self._leases.fail(job, reason)
            return
        with models.using(version):
            await self._advance_with(version, job, started)

    async def _advance_with(self, version: Version, job: Job, started: float) -> None:
        """Run the first missing samples with the version that has the job's weights."""
        try:
            plan = await self._in_thread(read_plan, job.plan)
        except ValueError as error:
            reason = f"its plan in the database cannot be read: {first_line(error)}"
            log.error("job %s failed: %s", job.id, reason)
            await self._leases.fail(job, reason)
            return
        numbers = await self._leases.missing(job, self._chunk_size(plan, version))
        if numbers:
            failure = await self._run(Chunk(job, plan, version.key, numbers, self._results))
            if failure is not None:
                await self._leases.fail(job, failure)
                return
        next_number = numbers[-1] + 1 if numbers else job.total
        seconds = time.monotonic() - started
        await self._leases.end_turn(job, next_number, seconds, self._terms.expiry_seconds)

    def _chunk_size(self, plan: Plan, version: Version) -> int:
        """Samples in the next chunk: at most half of the queue over all slots, the other half is
        for interactive requests; and no more frames than CHUNK_BYTES hold."""
        limits = self._limits_of(plan.submit.client)
        room = limits.most_samples(plan.submit.steps) // (2 * SLOTS)
        sample_bytes = 2 * len(plan.shown_times) * image_bytes(plan)
        held = CHUNK_BYTES // max(sample_bytes, 1)
        batch = self._pool.models.info(version).batch_sizes[-1]
        chunk = self._terms.chunk or CHUNK_BATCHES * batch
        return max(1, min(chunk, room, held))

    async def _run(self, chunk: Chunk) -> str | None:
        """Have the engine make the chunk, and keep it. The reason, if the engine cannot make it."""
        recorded = time.monotonic()
        limits = self._limits_of(chunk.submit.client)
        bounds = Bounds(limits.max_client_samples, limits.max_client_steps)
        with self._pool.submit(chunk.submit, client=bounds) as inflight:
            async for event in inflight:
                match event:
                    case Frame():
                        chunk.show(event)
                    case Finished():
                        await self._in_thread(chunk.keep, event)
                    case Failed(_, reason):
                        return reason
                    case Done():
                        break
                if chunk.kept and time.monotonic() - recorded > RECORD_SECONDS:
                    await self._record(chunk)
                    recorded = time.monotonic()
        if chunk.kept:
            await self._record(chunk)
        return None

    async def _record(self, chunk: Chunk) -> None:
        """Tell the database which samples are kept, once they are sure to be on disk."""
        await self._in_thread(self._results.sync, chunk.job.id)
        await self._leases.record(chunk.job, chunk.kept)
        chunk.kept.clear()

    async def _in_thread(self, call: Callable[[A], T], argument: A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, argument)


def _pause_after(turn: asyncio.Task[float]) -> float:
    """Seconds to pause after a turn that has ended. An error that not even its end has dealt with
    is logged: it does not end the turns of other jobs. Raises StorageDamaged."""
    if turn.cancelled():
        return 0.0
    error = turn.exception()
    if error is None or isinstance(error, StorageDamaged):
        return turn.result()
    log.error("an error in the server: a job waits until its lease runs out", exc_info=error)
    return RETRY_SECONDS
