"""An engine without a process or a network: the real scheduler, and steps that take what was
measured."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from app.engine.batch import Batch
from app.engine.engine import finished_jobs
from app.engine.job import Chain, Job
from app.engine.network import Network
from app.engine.scheduler import Scheduler
from app.pool.connection import Connection, Death
from app.pool.engine_process import EngineProcess
from app.pool.pool import EnginePool
from app.wire.messages import Cancel, Done, Finished, Loaded, Message, Pause, Submit
from app.wire.model_info import ModelInfo
from benchmarks.scale.clock import Clock
from benchmarks.scale.curves import Machine

START_SECONDS = 3.5
"""From an engine's death until the next has the model (docs/performance.md, with a cache)."""


@dataclass(frozen=True)
class Board:
    """What the scheduler asks of a board: there is room for every state."""

    max_rows: int
    num_lanes: int
    depth: int = 1
    max_steps: int = 1

    def seat(self, _chain: Chain) -> bool:
        """There is always a place."""
        return True


class SimulatedEngine(EngineProcess):
    """Takes jobs from the pool as an engine process does, and sends it the events of one."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        machine: Machine,
        pool: EnginePool,
        info: ModelInfo,
        since: Callable[[str], float],
        on_done: Callable[[str], None],
    ) -> None:
        """`since` says of a job's id when it first came; `on_done` is told those that are done."""
        super().__init__(name, "in simulated time", nothing, 0.0, fail, pool)
        self.deaths = 0
        self.rows_done = 0
        self._clock = clock
        self._machine = machine
        self._info = info
        self._on_done = on_done
        self._since = since
        self._scheduler = Scheduler()
        self._begun = 0  # batches
        self._network = self._new_network()

    def start(self) -> None:
        """Have every model that it is to have, at once."""
        for model in list(self.loads.wanted):
            self._welcome(Loaded(model, self._info, START_SECONDS, memory_bytes=0))

    def die(self) -> None:
        """Lose all that is not sent, and be there again later."""
        self.deaths += 1
        self._scheduler = Scheduler()
        self._begun = 0
        self._network = self._new_network()
        self._after_death(Death((), was_killed=True))
        self._clock.after(START_SECONDS, self.start)

    def _new_network(self) -> Network[Any]:
        curve = self._machine.curve
        board = Board(curve.max_rows, self._machine.lanes)

        def table(submit: Submit) -> Any:
            return range(submit.steps)

        return Network("", cast(Any, board), curve, table)

    def _send(self, message: Message) -> None:
        match message:
            case Submit():
                self._take(message)
            case Cancel(job_id):
                self._scheduler.cancel(job_id)
            case Pause(job_id, paused):
                self._scheduler.pause(job_id, paused=paused)
        self._begin()

    def _take(self, submit: Submit) -> None:
        if submit.waited:  # in real time, at engines that died
            submit = dataclasses.replace(submit, waited=self._clock.now - self._since(submit.id))
        self._scheduler.add(Job.of(submit, self._network, self._clock.now))

    def _begin(self) -> None:
        """Fill the lanes."""
        while self._begun < self._machine.lanes and (batch := self._scheduler.schedule()):
            self._begun += 1
            self._clock.after(batch.seconds, partial(self._end, self._scheduler, batch))

    def _end(self, scheduler: Scheduler, batch: Batch) -> None:
        """Tell what a batch has made, unless it died with its scheduler."""
        if scheduler is not self._scheduler:
            return
        self._begun -= 1
        self.rows_done += batch.steps * batch.rows
        finished = scheduler.advance(batch)
        for chain in finished:
            self.jobs.accept(Finished(chain.job.id, chain.index, b""))
        for job in finished_jobs(finished):
            self._finish(job.id)
        self._begin()

    def _finish(self, job_id: str) -> None:
        self.jobs.accept(Done(job_id, 0.0, 0.0))
        self._on_done(job_id)


async def nothing() -> Connection:
    """No process is ever started."""
    raise NotImplementedError


def fail(reason: str) -> None:
    """Nothing is to go wrong here."""
    raise RuntimeError(reason)
