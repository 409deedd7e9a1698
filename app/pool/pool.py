"""All engines of the server: who is admitted, and which engine gets the work."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.pool.engine_process import COMMAND, EngineProcess
from app.pool.errors import ClientOverLimit, NotReady, Overloaded
from app.pool.inflight import InFlight, Outcome
from app.wire.messages import ModelInfo, Submit
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
    """Admits jobs, and hands each to the engine that has the least to do."""

    def __init__(
        self,
        options: Sequence[Options],
        limits: Limits,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        """One engine for each of the `options`; nothing starts yet. `on_unusable` is told the
        reason when one cannot go on; `command` starts an engine process."""
        self.limits = limits
        self.is_draining = False
        self._is_hurried = asyncio.Event()
        self.outcomes: dict[str, int] = {"finished": 0, "failed": 0, "cancelled": 0}
        self.has_been_ready = asyncio.Event()  # set by the first engine that is
        self.engines = [
            EngineProcess(option, hang_seconds, on_unusable, self.has_been_ready.set, command)
            for option in options
        ]

    def start(self) -> None:
        """Start every engine; returns at once."""
        for engine in self.engines:
            engine.start()

    async def stop(self) -> None:
        """End every engine."""
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
    def model(self) -> ModelInfo:
        """What the engines say of the model. Raises NotReady before one has been ready."""
        for engine in self.engines:
            if engine.model is not None:
                return engine.model
        doing = next((f": {engine.starting}" for engine in self.engines if engine.starting), "")
        raise NotReady(f"the model is being loaded{doing}")

    @property
    def queued_samples(self) -> int:
        """Unfinished samples in all engines."""
        return sum(len(inflight.missing) for inflight in self._inflight())

    def submit(
        self, submit: Submit, seconds: float | None = None, client: Bounds | None = None
    ) -> InFlight:
        """Admit a job and give it to an engine. Its events must be read within `seconds` in all.
        `client` are bounds of its client's own; None: those of every client.

        Raises NotReady without a ready engine, ClientOverLimit or Overloaded without room.
        """
        self.check_room(submit, client)
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        engine = min(self.ready_engines, key=lambda engine: engine.backlog)
        inflight = InFlight(submit, deadline, engine, self._count)
        engine.submit(inflight)
        return inflight

    def check_room(self, submit: Submit, client: Bounds | None = None) -> None:
        """Raise what `submit` would raise for this job now. It reserves nothing."""
        if self.is_draining:
            raise NotReady("the server is shutting down")
        if not self.ready_engines:
            raise NotReady("no engine is ready")
        everybody = self._inflight()
        own = [inflight for inflight in everybody if inflight.submit.client == submit.client]
        backlog = sum(inflight.cost for inflight in everybody)
        shortage = _shortage(submit, own, client or self.limits.client)
        if shortage is not None:
            # Its own work goes on beside that of the others, each with an equal share.
            clients = len({inflight.submit.client for inflight in everybody})
            rows = min(backlog, clients * sum(inflight.cost for inflight in own))
            raise ClientOverLimit(f"your part of the queue has {shortage}", self._seconds(rows))
        shortage = _shortage(submit, everybody, self.limits.server)
        if shortage is not None:
            raise Overloaded(f"the queue has {shortage}", self._seconds(backlog))

    def _seconds(self, rows: int) -> int:
        """Whole seconds in which the ready engines should do so many network rows."""
        per_row = self.model.seconds_per_row
        return max(1, math.ceil(rows * per_row / max(1, len(self.ready_engines))))

    def _inflight(self) -> list[InFlight]:
        return [inflight for engine in self.engines for inflight in engine.inflight.values()]

    def _count(self, outcome: Outcome, samples: int) -> None:
        self.outcomes[outcome] += samples


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
