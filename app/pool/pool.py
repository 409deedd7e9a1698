"""All engines of the server: who is admitted, and which engine gets the work."""

import asyncio
import contextlib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from app.pool.engine_process import COMMAND, EngineProcess
from app.pool.errors import ClientOverLimit, NotReady, Overloaded
from app.pool.inflight import InFlight, Outcome
from app.pool.models import Models
from app.pool.tally import Queue, Tally
from app.pool.version import name_of
from app.wire.messages import Submit
from app.wire.options import Options


@dataclass(frozen=True)
class Bounds:
    """What the queue holds at most: unfinished samples, and denoising steps left to do for them."""

    samples: int
    steps: int


@dataclass(frozen=True)
class Limits:
    """The bounds of the whole server's queue, and of one client's part of it."""

    server: Bounds
    client: Bounds


class EnginePool:
    """Admits jobs, and hands each to the engine that has the least to do, of those that have its
    model."""

    def __init__(
        self,
        options: Sequence[Options],
        models: Models,
        limits: Limits,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        """One engine for each of the `options`, with these `models`; nothing starts yet.
        `on_unusable` is told the reason when one cannot go on; `command` starts an engine
        process."""
        self.models = models
        self.limits = limits
        self.is_draining = False
        self._is_hurried = asyncio.Event()
        self._queue = Queue()
        self._outcomes: Counter[tuple[str, str]] = Counter()  # samples, by model and outcome
        self.engines = [
            EngineProcess(option, hang_seconds, on_unusable, models, command) for option in options
        ]
        models.engines = self.engines

    def start(self) -> None:
        """Start every engine, which loads the models; returns at once."""
        self.models.start()
        for engine in self.engines:
            engine.start()

    async def stop(self) -> None:
        """End every engine."""
        self.models.stop()
        await asyncio.gather(*(engine.stop() for engine in self.engines))

    async def drain(self, seconds: float) -> None:
        """Take no new job from now on; whoever still waits after `seconds` is told so."""
        self.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_hurried.wait()
        for engine in self.engines:
            for inflight in engine.inflight.values():
                inflight.refuse(NotReady("the server is shutting down; ask again"))

    def hurry(self) -> None:
        """Wait no longer for what is drained."""
        self._is_hurried.set()

    @property
    def ready_engines(self) -> list[EngineProcess]:
        """The engines that can take steps now."""
        return [engine for engine in self.engines if engine.is_ready]

    @property
    def outcomes(self) -> dict[tuple[str, str], int]:
        """Samples that left the engines, by model and outcome; of every model and outcome, also
        where there are none yet."""
        none = itertools.product(self.models.names, get_args(Outcome))
        return {**dict.fromkeys(none, 0), **self._outcomes}

    @property
    def queued_samples(self) -> int:
        """Unfinished samples in all engines."""
        return self._queue.everybody.samples

    def submit(
        self, submit: Submit, seconds: float | None = None, client: Bounds | None = None
    ) -> InFlight:
        """Admit a job and give it to an engine. Its events must be read within `seconds` in all.
        `client` are bounds of its client's own; None: those of every client.

        Raises NotReady where no engine has its model, ClientOverLimit or Overloaded without room.
        """
        self.check_room(submit, client)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        engine = self._least_busy(submit.model)
        count = functools.partial(self._count, name_of(submit.model))
        inflight = InFlight(submit, deadline, engine.jobs, count)
        inflight.count_in(self._queue)
        engine.submit(inflight)
        return inflight

    def check_room(self, submit: Submit, client: Bounds | None = None) -> None:
        """Raise what `submit` would raise for this job now. It reserves nothing, but a model that
        is not loaded is loaded from now on."""
        if self.is_draining:
            raise NotReady("the server is shutting down")
        self._check_loaded(submit.model)
        everybody, own = self._queue.everybody, self._queue.of(submit.client)
        shortage = _shortage(submit, own, client or self.limits.client)
        if shortage is not None:
            # Its own work goes on beside that of the others, each with an equal share.
            row_seconds = self._row_seconds()
            its_turns = self._queue.num_clients * own.seconds(row_seconds)
            seconds = min(everybody.seconds(row_seconds), its_turns)
            raise ClientOverLimit(f"your part of the queue has {shortage}", self._wait(seconds))
        shortage = _shortage(submit, everybody, self.limits.server)
        if shortage is not None:
            wait = self._wait(everybody.seconds(self._row_seconds()))
            raise Overloaded(f"the queue has {shortage}", wait)

    def _check_loaded(self, model: str) -> None:
        """Raise NotReady unless an engine has the model and is to go on with it."""
        version = self.models.version(model)
        if version is None:
            raise NotReady(f"the model {name_of(model)} has been replaced; ask again", 1)
        if self.models.state(version) != "ready" or version.is_leaving:
            raise self.models.refusal(version)

    def _least_busy(self, model: str) -> EngineProcess:
        """The engine that has the least to do, of those that have a model."""
        serving = [engine for engine in self.engines if engine.serves(model)]
        row_seconds = self._row_seconds()
        return min(serving, key=lambda engine: engine.jobs.tally.seconds(row_seconds))

    def _row_seconds(self) -> dict[str, float]:
        """Seconds that a network row takes, about, of each model that a job needs."""
        found = {}
        for model in self._queue.everybody.rows:
            version = self.models.version(model)
            known = None if version is None else version.known
            found[model] = 0.0 if known is None else known.seconds_per_row
        return found

    def _wait(self, seconds: float) -> int:
        """Whole seconds in which all ready engines should do what takes one so many."""
        return max(1, math.ceil(seconds / max(1, len(self.ready_engines))))

    def _count(self, model: str, outcome: Outcome, samples: int) -> None:
        self._outcomes[model, outcome] += samples


def _shortage(submit: Submit, queued: Tally, bounds: Bounds) -> str | None:
    """What there is no room for beside what is in the queue, if anything."""
    n = len(submit.indices)
    for unit, asked, held, bound in (
        ("samples", n, queued.samples, bounds.samples),
        ("steps", n * submit.steps, queued.steps, bounds.steps),
    ):
        if held + asked > bound:
            room = max(0, bound - held)
            return f"room for {room} of the {asked} {unit} asked for (it holds {bound})"
    return None
