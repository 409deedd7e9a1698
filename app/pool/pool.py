"""All engines of the server behind one `run`: who is admitted, and who does the work."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.pool.engine_process import COMMAND, EngineHandle
from app.pool.inflight import ClientOverLimit, Flight, NotReady, Overloaded
from app.wire.messages import Done, Event, Failed, Submit
from app.wire.options import Options


@dataclass(frozen=True)
class Bounds:
    """What the queue holds at most, in unfinished samples, and in steps still to do for them."""

    samples: int
    steps: int


@dataclass(frozen=True)
class Limits:
    """Of the whole server, and of one client."""

    server: Bounds
    client: Bounds


class Supervisor:
    """All engines of the server behind one `run`."""

    def __init__(
        self,
        options: Sequence[Options],
        limits: Limits,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.limits = limits
        self.is_draining = False
        self.unusable: str | None = None
        self.outcomes = {"finished": 0, "failed": 0, "cancelled": 0}
        self.has_been_ready = asyncio.Event()  # set by the first engine that is
        self._on_unusable = on_unusable
        self.engines = [
            EngineHandle(option, hang_seconds, self._give_up, self.has_been_ready.set, command)
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
        await asyncio.sleep(seconds)
        for flight in self._flights():
            flight.events.put_nowait(NotReady("the server is shutting down; ask again"))

    def _flights(self) -> list[Flight]:
        return [flight for engine in self.engines for flight in engine.flights.values()]

    def _give_up(self, reason: str) -> None:
        self.unusable = reason
        self._on_unusable(reason)

    @property
    def ready_engines(self) -> list[EngineHandle]:
        return [engine for engine in self.engines if engine.is_ready]

    @property
    def model(self) -> dict[str, Any]:
        """What the engines say of the model. Raises NotReady before one has been ready."""
        for engine in self.engines:
            if engine.model is not None:
                return engine.model
        raise NotReady("the model is being loaded")

    @property
    def queued_samples(self) -> int:
        """Unfinished samples in all engines."""
        return sum(len(flight.missing) for flight in self._flights())

    def retry_after(self, rows: int) -> int:
        """Whole seconds in which the ready engines should do so many network rows."""
        per_row: float = self.model["seconds_per_row"]
        return max(1, math.ceil(rows * per_row / max(1, len(self.ready_engines))))

    def admit(self, submit: Submit) -> None:
        """Raises NotReady without a ready engine, ClientOverLimit or Overloaded without room."""
        if self.is_draining:
            raise NotReady("the server is shutting down")
        if not self.ready_engines:
            raise NotReady("no engine is ready")
        flights = self._flights()
        own = [flight for flight in flights if flight.submit.client == submit.client]
        shortage = _shortage(submit, own, self.limits.client)
        backlog = sum(flight.cost for flight in flights)
        if shortage is not None:
            # Its own work goes on beside that of the others, each with an equal share.
            clients = len({flight.submit.client for flight in flights})
            rows = min(backlog, clients * sum(flight.cost for flight in own))
            raise ClientOverLimit(f"your part of the queue has {shortage}", self.retry_after(rows))
        shortage = _shortage(submit, flights, self.limits.server)
        if shortage is not None:
            raise Overloaded(f"the queue has {shortage}", self.retry_after(backlog))

    async def run(
        self, submit: Submit, seconds: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Submit to the least loaded engine; its events, up to and with Done or Failed.

        Leaving the iteration early cancels the job. Raises as `admit` does; TooLate when the next
        event is not there after `seconds` in all, NotReady when the server shuts down first.
        """
        self.admit(submit)
        now = asyncio.get_running_loop().time()
        deadline = None if seconds is None else now + seconds
        engine = min(self.ready_engines, key=lambda engine: engine.backlog)
        flight = Flight(submit)
        engine.submit(flight)
        unfinished = "cancelled"
        try:
            while True:
                event = await flight.next(deadline)
                engine.keep_pace(flight)
                if isinstance(event, Failed):
                    unfinished = "failed"
                yield event
                if isinstance(event, Done | Failed):
                    return
        finally:
            engine.release(submit.id)
            self.outcomes["finished"] += len(submit.indices) - len(flight.missing)
            self.outcomes[unfinished] += len(flight.missing)


def _shortage(submit: Submit, flights: Sequence[Flight], bounds: Bounds) -> str | None:
    """What there is no room for beside `flights`, if anything."""
    n = len(submit.indices)
    for unit, asked, queued, bound in (
        ("samples", n, sum(len(flight.missing) for flight in flights), bounds.samples),
        ("steps", n * submit.steps, sum(flight.steps for flight in flights), bounds.steps),
    ):
        if queued + asked > bound:
            room = max(0, bound - queued)
            return f"room for {room} of the {asked} {unit} asked for (it holds {bound})"
    return None
