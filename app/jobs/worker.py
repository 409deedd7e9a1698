"""Carries out jobs: turn by turn, a chunk of samples a turn, each sample kept when it is finished.

Jobs take turns, so a small one waits for a chunk of a large one and not for its end; the chunks in
flight are few, and the engine lets interactive requests overtake them. Whatever is not the job's
own fault (no engine, a full queue, a full disk, no database) makes it wait.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar
from uuid import uuid4

from pydantic import TypeAdapter

from app.generation.collect import image
from app.generation.plan import Plan
from app.jobs.database import StorageFull, StorageUnavailable
from app.jobs.result_store import ResultStore, encode_image, encode_trajectory, image_bytes
from app.jobs.store import Kept, LostLease, Store
from app.jobs.tables import Job
from app.pool.errors import Refused
from app.pool.pool import EnginePool
from app.tasks import end, together
from app.wire.messages import Done, Failed, Finished, Frame

log = logging.getLogger(__name__)

A = TypeVar("A")
T = TypeVar("T")
PLANS = TypeAdapter(Plan)
SLOTS = 2
"""Jobs that have their turn at once: while the tail of one chunk runs, another fills the batch."""
CHUNK_BYTES = 64 << 20
"""Frames of unfinished samples that a slot holds, unless one sample has more."""
RECORD_SECONDS = 0.25
"""Finished samples are recorded together, this often."""
REFUSED_SECONDS = 1.0
"""Pause while there is no engine, or no room in its queue."""
RETRY_SECONDS = 5.0
"""Pause after what may pass."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """How a process works on jobs; `made_by` says what it can run, see `service.maker`."""

    owner: str
    chunk: int  # samples
    lease_seconds: float
    expiry_seconds: float
    idle_seconds: float  # how often to look for jobs that other processes accepted or left


class Worker:
    """The turns of one process."""

    def __init__(
        self,
        store: Store,
        results: ResultStore,
        pool: EnginePool,
        threads: Executor,
        terms: Terms,
        made_by: Callable[[], str],
    ) -> None:
        self._store = store
        self._results = results
        self._pool = pool
        self._threads = threads
        self._terms = terms
        self._made_by = made_by
        self._turns: dict[asyncio.Task[float], str] = {}  # and the job's id
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()  # for a job: one slot at a time

    async def run(self) -> None:
        """Until cancelled."""
        await together(*(self._take_turns() for _ in range(SLOTS)))

    def wake(self) -> None:
        """There is a new job."""
        self._news.set()

    async def cancel(self, job_id: str) -> None:
        """End the job's turn, if it has one here; its samples leave the engine at the next step."""
        await end([turn for turn, running in self._turns.items() if running == job_id])

    async def _take_turns(self) -> None:
        while True:
            try:
                async with self._looking:
                    job = await self._next()
            except (StorageUnavailable, StorageFull) as error:
                log.error("no jobs are run: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            turn = asyncio.create_task(self._turn(job))
            self._turns[turn] = job.id
            try:
                await asyncio.wait({turn})
            finally:
                await end([turn])
                del self._turns[turn]
            if not turn.cancelled():
                await asyncio.sleep(turn.result())
            self._news.set()  # the job may wait for its next turn, and the other slot be looking

    async def _next(self) -> Job:
        """The lease of a job, as soon as there is one and an engine to run it."""
        terms = self._terms
        while True:
            if not self._pool.ready_engines:
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            self._news.clear()
            job = await self._store.claim(terms.owner, self._made_by(), terms.lease_seconds)
            if job is not None:
                return job
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(terms.idle_seconds):
                    await self._news.wait()

    async def _turn(self, job: Job) -> float:
        """One chunk under the lease; what goes wrong is told in the job. Seconds to pause after."""
        try:
            return await self._told(job)
        except LostLease:  # deleted, or taken over
            with contextlib.suppress(StorageUnavailable, StorageFull):
                await self._store.leave(job)
            return 0.0
        except (StorageUnavailable, StorageFull) as error:
            log.error("job %s waits: %s", job.id, error)
            with contextlib.suppress(StorageUnavailable, StorageFull, LostLease):
                await self._store.release(job, str(error))
            return RETRY_SECONDS

    async def _told(self, job: Job) -> float:
        """`_turn`, but for what the storage says."""
        try:
            await self._while_leased(job)
        except Refused as error:
            await self._store.release(job, f"waits for the engine: {error}")
            return REFUSED_SECONDS
        except asyncio.CancelledError:
            await asyncio.shield(self._store.release(job, None))
            raise
        except (LostLease, StorageUnavailable, StorageFull):
            raise
        except Exception as error:
            log.exception("job %s", job.id)
            await self._store.fail(job, f"an error of the server's own: {error!r}")
        return 0.0

    async def _while_leased(self, job: Job) -> None:
        """The chunk, beside the heartbeat: the end of one is the end of the other."""
        tasks = {
            asyncio.ensure_future(self._run_chunk(job)),
            asyncio.ensure_future(self._beat(job)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)

    async def _beat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(self._terms.lease_seconds / 3)
            await self._store.extend(job, self._terms.lease_seconds)

    async def _run_chunk(self, job: Job) -> None:
        """Run the first missing samples, keep each, record what is kept."""
        started = time.monotonic()
        plan = await self._in_thread(PLANS.validate_json, job.plan)
        numbers = await self._store.missing(job, self._chunk_size(plan))
        if numbers:
            failure = await self._run(Chunk(job, plan, numbers, self._results))
            if failure is not None:
                await self._store.fail(job, failure)
                return
        next_number = numbers[-1] + 1 if numbers else job.total
        seconds = time.monotonic() - started
        await self._store.end_turn(job, next_number, seconds, self._terms.expiry_seconds)

    def _chunk_size(self, plan: Plan) -> int:
        limits = self._pool.limits
        steps = min(limits.server.steps, limits.client.steps) // plan.submit.steps
        room = min(limits.server.samples, limits.client.samples, steps)
        room //= 2 * SLOTS  # leaves half to the interactive
        frames = 2 * len(plan.shown_times) * image_bytes(plan)
        held = CHUNK_BYTES // max(frames, 1)
        return max(1, min(self._terms.chunk, room, held))

    async def _run(self, chunk: "Chunk") -> str | None:
        """None, or why the engine could not do it."""
        recorded = time.monotonic()
        with self._pool.submit(chunk.submit) as inflight:
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

    async def _record(self, chunk: "Chunk") -> None:
        await self._in_thread(self._results.sync, chunk.job.id)
        await self._store.record(chunk.job, chunk.kept)
        chunk.kept.clear()

    async def _in_thread(self, call: Callable[[A], T], argument: A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, argument)


class Chunk:
    """Samples of a job in the making, by number; the finished ones become files at once."""

    def __init__(self, job: Job, plan: Plan, numbers: Sequence[int], results: ResultStore) -> None:
        self.job = job
        self.kept: list[Kept] = []  # in the result store, but not yet recorded
        self._plan = plan
        self._results = results
        self._frames: defaultdict[int, dict[int, tuple[bytes, bytes]]] = defaultdict(dict)
        submit = plan.submit
        self.submit = dataclasses.replace(
            submit,
            id=uuid4().hex,
            indices=tuple(submit.indices[i] for i in numbers),
            labels=submit.labels and tuple(submit.labels[i] for i in numbers),
        )

    def show(self, frame: Frame) -> None:
        """Hold a frame until its sample is finished."""
        self._frames[frame.index][frame.position] = (frame.x_t, frame.x_0_hat)

    def keep(self, finished: Finished) -> None:
        """Write the sample's file; blocks. Raises StorageUnavailable or StorageFull."""
        index = finished.index
        if self._plan.submit.shown:
            frames = self._frames.pop(index, {})
            frames[self._plan.submit.steps] = (finished.x_0, finished.x_0)  # if it is shown
            encoded = encode_trajectory(self._plan, frames)
        else:
            encoded = encode_image(image(self._plan, finished.x_0))
        content, first_crc, second_crc = encoded
        self._results.write(self.job.id, index, content)
        number = index - self._plan.submit.indices[0]
        self.kept.append(Kept(number, len(content), first_crc, second_crc))
