"""The engine as a pure step machine: jobs in, steps, events out. No process, socket or thread."""

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.engine.batch import Batch
from app.engine.board import Call, Made
from app.engine.job import Chain, Job
from app.engine.network import Network
from app.engine.recovery import recover, smaller_batches
from app.engine.scheduler import Scheduler
from app.engine.terms import Terms, results
from app.wire.flight_recorder import Place
from app.wire.messages import Counts, Done, Event, Failed, Frame, Limited, Submit

log = logging.getLogger("ddpm.engine")


class Engine:
    """Advances all jobs, a batch of chains a step; several batches at once where their networks
    have lanes, each of which a thread drives:

        while engine.begin(lane):  # until the lane is full, or there is nothing to begin for now
            pass
        call = engine.oldest(lane)  # None: there is nothing on the lane
        engine.run(call)
        engine.end(lane)
        events = engine.take_events()

    One thread at a time may call anything here; only `run` may go on beside that.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_step: Callable[[int, Sequence[Place]], object] = lambda _oldest, _places: None,
    ) -> None:
        """It has no network. `on_step` is told before each step which is the oldest that then runs,
        counted from 1, and where every job is that runs."""
        self.on_step = on_step
        self.networks: dict[str, Network[Any]] = {}  # by key
        self.scheduler = Scheduler()
        self.clock = clock
        self._begun = 0  # steps
        self._lanes: list[deque[Call]] = [deque()]  # oldest first
        self._depth = 1  # calls on a lane, at most
        self._again: list[Batch] = []  # after a failure: one at a time, beside no other
        self._events: list[Event | Limited] = []
        self._counts: dict[tuple[str, int], Counts] = {}  # by network and batch size

    @property
    def num_lanes(self) -> int:
        """Lanes that a thread must drive: as many as any network has had."""
        return len(self._lanes)

    def add(self, network: Network[Any]) -> None:
        """Take jobs of this network from now on."""
        self.networks[network.key] = network
        self._depth = max(self._depth, network.depth)
        for _ in range(self.num_lanes, network.board.num_lanes):
            self._lanes.append(deque())

    def remove(self, network: Network[Any]) -> None:
        """Take no more of its jobs; those that are here fail."""
        del self.networks[network.key]
        for job in self.scheduler.of(network):
            self._fail(job, "the model is no longer loaded")

    def uses(self, network: Network[Any]) -> bool:
        """Is a batch of the network under way, or to be tried again?"""
        under_way = [call.batch for lane in self._lanes for call in lane]
        return any(batch.network is network for batch in under_way + self._again)

    def rest(self) -> None:
        """Tell that no job is being advanced."""
        self.on_step(self._begun, ())

    @property
    def is_idle(self) -> bool:
        """Is there nothing to advance?"""
        return self.scheduler.is_idle and not self.is_at_work and not self._again

    def submit(self, submit: Submit) -> None:
        """Admit a job; a job that can never run fails at once."""
        network = self.networks.get(submit.model)
        if network is None:
            self._events.append(Failed(submit.id, f"model: {submit.model!r} is not loaded"))
            return
        try:
            self.scheduler.add(Job.of(submit, network, self.clock()))
        except ValueError as error:
            self._events.append(Failed(submit.id, str(error)))

    def cancel(self, job_id: str) -> None:
        """Forget a job: its chains take no further step, and their states are dropped."""
        job = self.scheduler.cancel(job_id)
        if job is not None:
            job.network.board.forget(job.chains)

    def pause(self, job_id: str, *, paused: bool) -> None:
        """Leave a job's chains where they are until it is no longer paused."""
        self.scheduler.pause(job_id, paused=paused)

    def begin(self, lane: int) -> Call | None:
        """Choose a batch and get it under way on this lane, behind those that are on it. None where
        the lane is full, or there is no batch; then either the engine is idle or at work."""
        while batch := self._choose(lane):
            place = None if batch.has_machine else lane
            started = self._announce(batch)
            try:
                call: Call = batch.network.board.prepare(batch, place)
            except Exception as error:
                self._recover(batch, place, error)
                continue
            call.number, call.started = self._begun, started
            self._lanes[lane].append(call)
            return call
        return None

    def oldest(self, lane: int) -> Call | None:
        """The call of the lane that is to be run and ended next; None where there is none."""
        return self._lanes[lane][0] if self._lanes[lane] else None

    def run(self, call: Call) -> None:
        """Run the network for the oldest call of a lane, maybe while other lanes are at work."""
        try:
            call.batch.network.board.run(call)
        except Exception as error:
            call.error = error

    def end(self, lane: int) -> None:
        """Settle the lane's oldest call, which has been run: what it made becomes events."""
        call = self._lanes[lane].popleft()
        try:
            if call.error is not None:
                raise call.error
            made = call.batch.network.board.finish(call)
        except Exception as error:
            self._recover(call.batch, call.lane, error)
        else:
            self._settle(call, made)
        if self._lanes[lane]:
            self._lanes[lane][0].started = self.clock()  # until now it has waited for this one

    def take_events(self) -> list[Event | Limited]:
        """What there is to tell since this was last asked, in order."""
        events, self._events = self._events, []
        return events

    def take_counts(self) -> list[Counts]:
        """What was counted since this was last asked, by network and batch size."""
        counts = list(self._counts.values())
        self._counts.clear()
        return counts

    @property
    def is_at_work(self) -> bool:
        """Is a step under way?"""
        return any(self._lanes)

    def _choose(self, lane: int) -> Batch | None:
        """What is to be tried again, once no other batch runs; else what the scheduler chooses.
        None when there is nothing to run on this lane now."""
        calls = self._lanes[lane]
        if len(calls) >= self._depth:
            return None
        while self._again and not self.is_at_work:
            batch = self._again.pop(0)
            chains = [chain for chain in batch if self.scheduler.is_here(chain)]
            max_rows = batch.network.board.max_rows
            if chains and batch.rows <= max_rows:
                batch.chains = chains
                return batch
            # Its jobs were cancelled, or there is room for fewer rows than when it was made.
            parts = smaller_batches(chains, max_rows)
            self._again[:0] = self.scheduler.split(batch, parts)

        def has_room(network: Network[Any]) -> bool:
            return lane < network.board.num_lanes and len(calls) < network.depth

        return self.scheduler.schedule(has_room)

    def _announce(self, batch: Batch) -> float:
        """Tell which steps are about to run, and where every job is in them. Returns the time."""
        self._begun += 1
        now, oldest, at = self.clock(), self._begun, places(batch)
        for chain in batch:
            if chain.job.started is None:
                chain.job.started = now
        for call in itertools.chain.from_iterable(self._lanes):
            oldest = min(oldest, call.number)
            at.update(places(call.batch))
        self.on_step(oldest, list(at.values()))
        return now

    def _recover(self, batch: Batch, lane: int | None, error: Exception) -> None:
        """Queue what `recovery` says is to be tried again, and fail the jobs that cannot go on."""
        network = batch.network
        max_rows = network.board.max_rows
        parts, failures = recover(batch, lane, error, self.scheduler)
        if network.board.max_rows < max_rows:
            self._events.append(Limited(network.key, network.board.max_rows))
        for job, reason in failures.items():
            self._fail(job, reason)
        self._again += self.scheduler.split(batch, parts)

    def _settle(self, call: Call, made: Made) -> None:
        """Turn what was made into events, and let go of the chains that are finished or
        cancelled."""
        is_here = self.scheduler.is_here
        for chain, step in made.bad.items():
            if is_here(chain):
                where = f"step {step} of {chain.job.num_steps}"
                self._fail(chain.job, f"sample {chain.index} is not a number after {where}")
        self._events += [
            Frame(chain.job.id, chain.index, position, x_t, x_0_hat)
            for chain, position, x_t, x_0_hat in made.frames
            if is_here(chain) and not isinstance(chain.job.begins, Terms)
        ]
        gone = [chain for chain in call.batch if not is_here(chain)]
        finished = self.scheduler.advance(call.batch)
        self._events += results(finished, made)
        self._events += [self._done(job) for job in finished_jobs(finished)]
        call.batch.network.board.forget(gone + finished)
        self._count(call)

    def _fail(self, job: Job, reason: str) -> None:
        fields = {"request_id": job.request_id, "job": job.id, "reason": reason}
        log.error("a job failed", extra=fields)
        self.cancel(job.id)
        self._events.append(Failed(job.id, reason))

    def _done(self, job: Job) -> Done:
        started = job.submitted if job.started is None else job.started
        return Done(job.id, started - job.submitted, self.clock() - started)

    def _count(self, call: Call) -> None:
        steps, seconds = call.batch.steps, self.clock() - call.started
        key, preemptions = call.batch.network.key, self.scheduler.preemptions
        counts = Counts(key, call.size, steps, steps * call.rows, seconds, preemptions)
        self.scheduler.preemptions = 0
        before = self._counts.get((key, call.size))
        self._counts[key, call.size] = counts if before is None else counts + before


def finished_jobs(finished: Iterable[Chain]) -> Iterable[Job]:
    """The jobs whose last chains are among these, in order."""
    return dict.fromkeys(chain.job for chain in finished if not chain.job.chains)


def places(batch: Iterable[Chain]) -> dict[str, Place]:
    """Where each job of a batch is, by its id: its first chain's sample and position."""
    first: dict[str, Place] = {}
    for chain in batch:
        if chain.job.id not in first:
            first[chain.job.id] = Place(chain.job.id, chain.index, chain.position)
    return first
