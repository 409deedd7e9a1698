"""The engine as a pure step machine: submit, cancel, begin a step, run it, end it; events out. No
process, no socket, no thread."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.latency_curve import LatencyCurve
from app.engine.runner import Call, ChainStep, JobData, Runner, is_out_of_memory
from app.engine.scheduler import Batch, Chain, Job, Scheduler
from app.wire.flight_recorder import Place
from app.wire.messages import Counts, Done, Event, Failed, Finished, Frame, Limited, Submit
from diffusion.process import Process
from diffusion.samplers import SamplerTable, make_table

log = logging.getLogger(__name__)

Steps = dict[Chain, ChainStep]
"""What one step did to each chain of its batch, in the batch's order."""


@dataclass
class Running:
    """A batch that takes a step: which of all, since when, and its batch size and rows. Without a
    call the step has the whole machine, and is run when it is ended."""

    number: int
    batch: Batch
    call: Call | None
    places: dict[str, Place]  # by job
    started: float
    size_and_rows: tuple[int, int]
    out: Tensor | None = None
    error: Exception | None = None

    def run(self, runner: Runner) -> None:
        """The network's part, which may run beside other batches'."""
        if self.call is not None:
            try:
                self.out = runner.run(self.call)
            except Exception as error:
                self.error = error

    def result(self) -> Tensor:
        """Of the network. Raises what went wrong."""
        if self.out is None:
            raise self.error or RuntimeError("it was not run")
        return self.out


@dataclass
class Progress:
    """The positions that a job shows; when it came and when its first step began, in seconds on the
    engine's clock."""

    shown: frozenset[int]
    submitted: float
    request_id: str
    started: float | None = None


class Engine:
    """Advances all jobs, a batch of chains a step; several batches at once where the runtime has
    lanes, each of which a thread drives:

        running = engine.begin(lane)   # None: nothing to do on this lane for now
        running.run(engine.runner)
        events = engine.end(lane)

    One thread at a time may call anything here; `run` alone may go on beside that.
    """

    def __init__(
        self,
        process: Process,
        runner: Runner,
        curve: LatencyCurve,
        clock: Callable[[], float] = time.monotonic,
        on_step: Callable[[int, Sequence[Place]], object] = lambda _oldest, _places: None,
    ) -> None:
        """`curve` has the runner's batch sizes. `on_step` is told before each network call which
        is the oldest step that then runs, counted from 1, and where every job is that runs."""
        self.process = process
        self.on_step = on_step
        self.runner = runner
        self.scheduler = Scheduler(curve, runner.num_lanes)
        self.clock = clock
        self._begun = 0  # steps
        self._running: dict[int, Running] = {}  # by lane
        self._failed: list[Batch] = []  # on a lane; to be run again beside no other
        self._progress: dict[str, Progress] = {}
        self._tables: dict[tuple[object, ...], SamplerTable] = {}
        self._counts: dict[int, Counts] = {}

    @property
    def is_idle(self) -> bool:
        """Is there nothing to advance?"""
        return self.scheduler.is_idle and not self._running and not self._failed

    def submit(self, submit: Submit) -> list[Event]:
        """Admit a job; a job that can never run fails at once."""
        try:
            table = self._table(submit)
            job = Job(submit.id, len(table), submit.rows, submit.client, submit.is_alone)
            job.delay = submit.waited
            job.add_chains(submit.indices, submit.labels)
            self.scheduler.add(job)
        except ValueError as error:
            return [Failed(submit.id, str(error))]
        self.runner.jobs[submit.id] = JobData.of(submit, table)
        self._progress[submit.id] = Progress(
            frozenset(submit.shown), self.clock(), submit.request_id
        )
        return []

    def cancel(self, job_id: str) -> None:
        """Forget a job: its chains take no further step, their states are dropped."""
        job = self.scheduler.cancel(job_id)
        if job is not None:
            self.runner.forget(job.chains)
            self._forget(job_id)

    def pause(self, job_id: str, *, paused: bool) -> None:
        """Leave a job's chains where they are until it is no longer paused."""
        self.scheduler.pause(job_id, paused=paused)

    def begin(self, lane: int) -> Running | None:
        """A batch that is to take a step on this lane, which is free; None as long as there is
        none, and then either the engine is idle or other lanes are at work."""
        if self._failed:
            return None if self._running else self._begin(self._failed.pop(0), lane, on_lane=False)
        batch = self.scheduler.schedule()
        if not batch:
            return None
        self._note_started(batch)
        try:
            return self._begin(batch, lane, on_lane=not batch.has_machine)
        except Exception:  # it says what it was when it happens again, on its own
            self._note_failed(batch)
            return self.begin(lane)

    def end(self, lane: int) -> list[Event | Limited]:
        """What there is to tell of the step that has been run on this lane."""
        limit = self.runner.max_rows
        running = self._running.pop(lane)
        made = self._finish(running)
        limited = [Limited(self.runner.max_rows)] if self.runner.max_rows < limit else []
        return [*limited, *(self._settle(running, *made) if made is not None else [])]

    def take_counts(self) -> list[Counts]:
        """What was counted since this was last asked, by batch size."""
        counts = list(self._counts.values())
        self._counts.clear()
        return counts

    def _count(self, size: int, rows: int, seconds: float) -> None:
        counts = Counts(size, 1, rows, seconds, self.scheduler.preemptions)
        self.scheduler.preemptions = 0
        self._counts[size] = counts + self._counts[size] if size in self._counts else counts

    def _note_started(self, batch: Batch) -> None:
        for chain in batch:
            progress = self._progress[chain.job.id]
            if progress.started is None:
                progress.started = self.clock()

    def _begin(self, batch: Batch, lane: int, *, on_lane: bool) -> Running:
        started, call = self.clock(), None
        own = places(batch)
        if on_lane:
            self._tell(own)
            call = self.runner.begin(batch.chains, lane)
        running = Running(self._begun, batch, call, own, started, self.runner.last_call)
        self._running[lane] = running
        return running

    def _tell(self, own: dict[str, Place]) -> None:
        """Of a step that is about to run, with these places; and of those that do."""
        self._begun += 1
        oldest, at = self._begun, dict(own)
        for other in self._running.values():
            oldest = min(oldest, other.number)
            at.update(other.places)
        self.on_step(oldest, list(at.values()))

    def _note_failed(self, batch: Batch) -> None:
        batch.has_machine = True
        self._failed.append(batch)

    def _finish(self, running: Running) -> tuple[Steps, dict[str, str]] | None:
        """What became of the chains, and why jobs failed; None when it went wrong on its lane."""
        if running.call is None:
            here = [chain for chain in running.batch if self._is_here(chain)]
            made = self._attempt(here) if here else ({}, {})
            running.size_and_rows = self.runner.last_call
            return made
        try:
            done = self.runner.finish(running.call, running.result())
        except Exception:
            self._note_failed(running.batch)
            return None
        return dict(zip(running.batch, done, strict=True)), {}

    def _settle(
        self, running: Running, steps: Steps, reasons: dict[str, str]
    ) -> list[Event | Limited]:
        """Count a batch's step, and what there is to tell of it."""
        here = {chain: done for chain, done in steps.items() if self._is_here(chain)}
        failed = {job: why for job, why in reasons.items() if job in self.scheduler.jobs}
        failed |= not_a_number(here)
        if failed:
            for job_id, reason in failed.items():
                self._fail(job_id, reason)
            here = {chain: done for chain, done in here.items() if self._is_here(chain)}
        failures = [Failed(job_id, reason) for job_id, reason in failed.items()]
        frames = self._frames(here)
        finished = self.scheduler.advance(running.batch)
        self.runner.forget([chain for chain in running.batch if chain not in here])
        self.runner.forget(finished)
        self._count(*running.size_and_rows, self.clock() - running.started)
        return [*failures, *frames, *self._results(here, finished)]

    def _is_here(self, chain: Chain) -> bool:
        """Has its job not been cancelled since its batch began?"""
        return self.scheduler.jobs.get(chain.job.id) is chain.job

    def _fail(self, job_id: str, reason: str) -> None:
        request_id = self._progress[job_id].request_id
        fields = {"request_id": request_id, "job": job_id, "reason": reason}
        log.error("a job failed", extra=fields)
        self.cancel(job_id)

    def _attempt(self, batch: Sequence[Chain]) -> tuple[Steps, dict[str, str]]:
        """The steps, and why jobs failed. Without memory the batch is run in smaller ones, from
        now on; after another error each job is tried on its own."""
        rows = sum(chain.job.rows for chain in batch)
        if rows > self.runner.max_rows:  # halved since the batch was made
            return self._attempt_each(self._smaller(batch), {})
        self._tell(places(batch))
        try:
            return dict(zip(batch, self.runner.step(batch), strict=True)), {}
        except Exception as error:
            if is_out_of_memory(error):
                if self.runner.halve():
                    return self._attempt_smaller(batch)
            elif self.runner.runtime.device.type != "cpu":
                raise  # the device may be in any state: the process is replaced
            jobs = dict.fromkeys(chain.job.id for chain in batch)  # in order
            requests = sorted(self._progress[job_id].request_id for job_id in jobs)
            log.exception("a step of %d chains failed", len(batch), extra={"requests": requests})
            if len(jobs) == 1:
                return {}, {next(iter(jobs)): f"the model failed: {error!r}"}
            return self._attempt_each([[c for c in batch if c.job.id == id] for id in jobs], {})

    def _attempt_smaller(self, batch: Sequence[Chain]) -> tuple[Steps, dict[str, str]]:
        """The same in the smaller batches that there is memory for; jobs that fit in none fail."""
        log.warning("out of memory: batches of %d from now on", self.runner.max_rows)
        unfit = self.scheduler.limit(self.runner.max_rows)
        reasons = {job.id: "the memory does not do for its rows" for job in unfit}
        return self._attempt_each(self._smaller(batch), reasons)

    def _attempt_each(
        self, batches: Sequence[Sequence[Chain]], reasons: dict[str, str]
    ) -> tuple[Steps, dict[str, str]]:
        steps: Steps = {}
        for batch in batches:
            done, failed = self._attempt(batch)
            steps, reasons = {**steps, **done}, {**reasons, **failed}
        return steps, reasons

    def _smaller(self, batch: Sequence[Chain]) -> list[list[Chain]]:
        """The batch in parts that the runner now takes, without chains that no longer fit."""
        parts: list[list[Chain]] = []
        room = 0
        for chain in batch:
            if chain.job.rows > self.runner.max_rows:
                continue
            if chain.job.rows > room:
                parts.append([])
                room = self.runner.max_rows
            parts[-1].append(chain)
            room -= chain.job.rows
        return parts

    def _frames(self, steps: Steps) -> list[Event]:
        """The states that the batch was in, where they are to be shown."""
        return [
            Frame(chain.job.id, chain.index, chain.position, raw(done.x_t), raw(done.x_0_hat))
            for chain, done in steps.items()
            if chain.position in self._progress[chain.job.id].shown
        ]

    def _results(self, steps: Steps, finished: Sequence[Chain]) -> list[Event]:
        """x_0 of the finished chains, as the last frame too; then the jobs that are done."""
        events: list[Event] = []
        for chain in finished:
            x_0 = raw(steps[chain].x_prev)
            if chain.position in self._progress[chain.job.id].shown:
                events.append(Frame(chain.job.id, chain.index, chain.position, x_0, x_0))
            events.append(Finished(chain.job.id, chain.index, x_0))
        over = {chain.job.id: None for chain in finished if not chain.job.chains}  # in order
        return events + [self._done(job_id) for job_id in over]

    def _done(self, job_id: str) -> Done:
        progress = self._progress[job_id]
        started = progress.started if progress.started is not None else progress.submitted
        self._forget(job_id)
        return Done(job_id, started - progress.submitted, self.clock() - started)

    def _forget(self, job_id: str) -> None:
        del self._progress[job_id]
        del self.runner.jobs[job_id]

    def _table(self, submit: Submit) -> SamplerTable:
        key = (submit.sampler, submit.steps, submit.eta, submit.variance)
        if key not in self._tables:
            if len(self._tables) >= 256:
                self._tables.clear()
            self._tables[key] = make_table(
                self.process,
                submit.sampler,
                submit.steps,
                eta=submit.eta,
                variance=submit.variance,
            )
        return self._tables[key]


def not_a_number(steps: Steps) -> dict[str, str]:
    """Why jobs fail of which a chain is no longer all numbers."""
    reasons = {}
    for chain, done in steps.items():
        if not done.is_finite:
            where = f"step {chain.position + 1} of {chain.job.num_steps}"
            reasons[chain.job.id] = f"sample {chain.index} is not a number after {where}"
    return reasons


def places(batch: Iterable[Chain]) -> dict[str, Place]:
    """Where each job of a batch is: its first chain's sample and position."""
    first: dict[str, Place] = {}
    for chain in batch:
        if chain.job.id not in first:
            first[chain.job.id] = Place(chain.job.id, chain.index, chain.position)
    return first


def raw(image: Tensor) -> bytes:
    """float32 (C,H,W) as little-endian bytes."""
    return image.to("cpu", torch.float32).contiguous().numpy().tobytes()
