"""The API's side of the engines: start, feed, watch and restart them; route their events.

Samples are functions of (checkpoint, request), so when an engine dies, what it had in flight is
submitted again to the next one, and the outputs are the same: a client sees only a delay.
"""

import asyncio
import dataclasses
import logging
import math
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.engine.messages import (
    HEADER,
    Cancel,
    Counts,
    Done,
    Event,
    Failed,
    Finished,
    Frame,
    Message,
    Ready,
    Submit,
    Unusable,
    decode,
    encode,
)
from app.engine.options import Options

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""Engines that a job may see die before it fails."""
RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Pause before the n-th start in a row that never got ready; the last one repeats."""
STOP_SECONDS = 5.0


class Overloaded(Exception):
    """The queue is full; `retry_after` seconds should make room."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(Exception):
    """No engine is ready; the message says why."""


@dataclass(eq=False)
class Flight:
    """A job in flight: what is still to come, and who waits for it."""

    submit: Submit
    events: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)
    missing: set[int] = field(default_factory=set)
    sent_frames: set[tuple[int, int]] = field(default_factory=set)
    attempts: int = 1

    def __post_init__(self) -> None:
        self.missing = set(self.submit.indices)

    def accept(self, event: Event) -> None:
        """Pass an event on, unless an engine that died had already sent it."""
        if isinstance(event, Frame):
            key = (event.index, event.position)
            if key in self.sent_frames:
                return
            self.sent_frames.add(key)
        if isinstance(event, Finished):
            self.missing.discard(event.index)
        self.events.put_nowait(event)

    def remainder(self) -> Submit:
        """The job without the samples that are finished."""
        submit = self.submit
        kept = [i for i, index in enumerate(submit.indices) if index in self.missing]
        labels = submit.labels
        return dataclasses.replace(
            submit,
            indices=tuple(submit.indices[i] for i in kept),
            labels=None if labels is None else tuple(labels[i] for i in kept),
        )

    @property
    def cost(self) -> int:
        """Network rows still to be run, at most."""
        return len(self.missing) * self.submit.steps * self.submit.rows


class EngineHandle:
    """One engine process on one device, restarted for as long as the server runs."""

    def __init__(self, options: Options, on_unusable: Callable[[str], None]) -> None:
        self.options = options
        self.model: dict[str, Any] | None = None
        self.status = "starting"
        self.pid: int | None = None
        self.restarts = 0
        self.counts: dict[int, Counts] = {}  # by batch size
        self.flights: dict[str, Flight] = {}
        self._on_unusable = on_unusable
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""
        return sum(flight.cost for flight in self.flights.values())

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """End the process: closing its socket does, else it is killed."""
        self.status = "stopped"
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    def submit(self, flight: Flight) -> None:
        self.flights[flight.submit.id] = flight
        self._send(flight.remainder())

    def release(self, job_id: str) -> None:
        """Nobody waits for the job any more: cancel what is left of it."""
        if self.flights.pop(job_id, None) is not None:
            self._send(Cancel(job_id))

    def _send(self, message: Message) -> None:
        if self.is_ready and self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def _keep_running(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)])
            reader = await self._spawn()
            became_ready = await self._read(reader)
            if self.model is None and self.status != "unusable":
                self._give_up("the engine died while it was starting")
            if self.status == "unusable":
                return
            failures = 0 if became_ready else failures + 1
            self._after_death()

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.engine.process", str(theirs.fileno()),
                *self.options.arguments(), pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self.pid = self._process.pid
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return reader

    async def _read(self, reader: asyncio.StreamReader) -> bool:
        """Handle messages until the engine is gone; did it get ready?"""
        became_ready = False
        try:
            while True:
                (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
                message = decode(await reader.readexactly(size))
                became_ready = became_ready or isinstance(message, Ready)
                self._handle(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            return became_ready

    def _handle(self, message: Message) -> None:
        match message:
            case Ready(model):
                self._welcome(model)
            case Unusable(reason) if self.model is None:
                self._give_up(reason)
            case Unusable(reason):  # it has run before: the reason may pass
                log.error("engine %s cannot start: %s", self.pid, reason)
            case Counts(size):
                self.counts[size] = message + self.counts.get(size, Counts(size, 0, 0, 0.0))
            case Frame() | Finished() | Done() | Failed():
                flight = self.flights.get(message.id)
                if flight is not None:
                    flight.accept(message)
                    if isinstance(message, Done | Failed):
                        del self.flights[message.id]

    def _welcome(self, model: dict[str, Any]) -> None:
        if self.model is not None and self.model["sha256"] != model["sha256"]:
            self._give_up("the checkpoint's weights have changed on disk; restart the server")
            return
        self.model = model
        self.status = "ready"
        log.info("engine %s is ready: %s on %s", self.pid, model["name"], model["device"])
        for flight in self.flights.values():
            self._send(flight.remainder())

    def _give_up(self, reason: str) -> None:
        self.status = "unusable"
        self._on_unusable(reason)

    def _after_death(self) -> None:
        self.status = "restarting"
        self.restarts += 1
        log.error(
            "engine %s died with %d jobs in flight", self.pid, len(self.flights),
            extra={"requests": sorted(f.submit.request_id for f in self.flights.values())},
        )  # fmt: skip
        if self._writer is not None:
            self._writer.close()
        for job_id, flight in list(self.flights.items()):
            flight.attempts += 1
            if not flight.missing:  # only its Done was lost
                flight.accept(Done(job_id, 0.0, 0.0))
            elif flight.attempts > MAX_ATTEMPTS:
                flight.accept(Failed(job_id, f"{MAX_ATTEMPTS} engines died while running it"))
            else:
                continue
            del self.flights[job_id]


class Supervisor:
    """All engines of the server behind one `run`."""

    def __init__(
        self,
        options: Sequence[Options],
        max_queue: int,
        on_unusable: Callable[[str], None],
    ) -> None:
        self.max_queue = max_queue
        self.unusable: str | None = None
        self.outcomes = {"finished": 0, "failed": 0, "cancelled": 0}
        self._on_unusable = on_unusable
        self.engines = [EngineHandle(option, self._give_up) for option in options]

    def start(self) -> None:
        """Start every engine; returns at once."""
        for engine in self.engines:
            engine.start()

    async def stop(self) -> None:
        """End every engine."""
        await asyncio.gather(*(engine.stop() for engine in self.engines))

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
        return sum(len(f.missing) for engine in self.engines for f in engine.flights.values())

    def retry_after(self, rows: int = 0) -> int:
        """Whole seconds until the backlog, and `rows` more network rows, should be done."""
        per_row: float = self.model["seconds_per_row"]
        backlog = sum(engine.backlog for engine in self.engines)
        return max(1, math.ceil((backlog + rows) * per_row / max(1, len(self.ready_engines))))

    def admit(self, submit: Submit) -> None:
        """Raises NotReady without a ready engine, Overloaded when the queue has no room."""
        if not self.ready_engines:
            raise NotReady("no engine is ready")
        room = self.max_queue - self.queued_samples
        if len(submit.indices) > room:
            raise Overloaded(
                f"the queue has room for {max(room, 0)} of the {len(submit.indices)} samples asked "
                f"for (it holds {self.max_queue})",
                self.retry_after(),
            )

    async def run(self, submit: Submit) -> AsyncGenerator[Event, None]:
        """Submit to the least loaded engine; its events, up to and with Done or Failed.

        Leaving the iteration early cancels the job. Raises as `admit` does.
        """
        self.admit(submit)
        engine = min(self.ready_engines, key=lambda engine: engine.backlog)
        flight = Flight(submit)
        engine.submit(flight)
        unfinished = "cancelled"
        try:
            while True:
                event = await flight.events.get()
                if isinstance(event, Failed):
                    unfinished = "failed"
                yield event
                if isinstance(event, Done | Failed):
                    return
        finally:
            engine.release(submit.id)
            self.outcomes["finished"] += len(submit.indices) - len(flight.missing)
            self.outcomes[unfinished] += len(flight.missing)
