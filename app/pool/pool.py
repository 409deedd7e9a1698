"""All engines of the server: who is admitted, and which engine gets the work."""

import asyncio
import contextlib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from app.pool.engine_process import COMMAND, EngineProcess
from app.pool.errors import ClientOverLimit, NotReady, Overloaded
from app.pool.inflight import InFlight, Outcome
from app.pool.models import Models
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
        for inflight in self._inflight():
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
        return sum(len(inflight.missing) for inflight in self._inflight())

    def submit(
        self, submit: Submit, seconds: float | None = None, client: Bounds | None = None
    ) -> InFlight:
        """Admit a job and give it to an engine. Its events must be read within `seconds` in all.
        `client` are bounds of its client's own; None: those of every client.

        Raises NotReady where no engine has its model, ClientOverLimit or Overloaded without room.
        """
        self.check_room(submit, client)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        serving = [engine for engine in self.engines if engine.serves(submit.model)]
        engine = min(serving, key=lambda engine: self._seconds(engine.inflight.values()))
        count = functools.partial(self._count, name_of(submit.model))
        inflight = InFlight(submit, deadline, engine.jobs, count)
        engine.submit(inflight)
        return inflight

    def check_room(self, submit: Submit, client: Bounds | None = None) -> None:
        """Raise what `submit` would raise for this job now. It reserves nothing, but a model that
        is not loaded is loaded from now on."""
        if self.is_draining:
            raise NotReady("the server is shutting down")
        self._check_loaded(submit.model)
        everybody = self._inflight()
        own = [inflight for inflight in everybody if inflight.submit.client == submit.client]
        shortage = _shortage(submit, own, client or self.limits.client)
        if shortage is not None:
            # Its own work goes on beside that of the others, each with an equal share.
            clients = len({inflight.submit.client for inflight in everybody})
            seconds = min(self._seconds(everybody), clients * self._seconds(own))
            raise ClientOverLimit(f"your part of the queue has {shortage}", self._wait(seconds))
        shortage = _shortage(submit, everybody, self.limits.server)
        if shortage is not None:
            wait = self._wait(self._seconds(everybody))
            raise Overloaded(f"the queue has {shortage}", wait)

    def _check_loaded(self, model: str) -> None:
        """Raise NotReady unless an engine has the model and is to go on with it."""
        version = self.models.version(model)
        if version is None:
            raise NotReady(f"the model {name_of(model)} has been replaced; ask again", 1)
        if self.models.state(version) != "ready" or version.is_leaving:
            raise self.models.refusal(version)

    def _seconds(self, jobs: Iterable[InFlight]) -> float:
        """Seconds in which one engine should do what is left of these jobs, about."""
        rows: Counter[str] = Counter()
        for job in jobs:
            rows[job.submit.model] += job.cost
        return sum(count * self._row_seconds(model) for model, count in rows.items())

    def _row_seconds(self, model: str) -> float:
        """Seconds that a network row of a model takes, about."""
        version = self.models.version(model)
        known = None if version is None else version.known
        return 0.0 if known is None else known.seconds_per_row

    def _wait(self, seconds: float) -> int:
        """Whole seconds in which all ready engines should do what takes one so many."""
        return max(1, math.ceil(seconds / max(1, len(self.ready_engines))))

    def _inflight(self) -> list[InFlight]:
        return [inflight for engine in self.engines for inflight in engine.inflight.values()]

    def _count(self, model: str, outcome: Outcome, samples: int) -> None:
        self._outcomes[model, outcome] += samples


def _shortage(submit: Submit, queued: Sequence[InFlight], bounds: Bounds) -> str | None:
    """What there is no room for beside the jobs in the queue, if anything."""
    n = len(submit.indices)
    samples = sum(len(inflight.missing) for inflight in queued)
    steps = sum(inflight.steps for inflight in queued)
    for unit, asked, held, bound in (
        ("samples", n, samples, bounds.samples),
        ("steps", n * submit.steps, steps, bounds.steps),
    ):
        if held + asked > bound:
            room = max(0, bound - held)
            return f"room for {room} of the {asked} {unit} asked for (it holds {bound})"
    return None
