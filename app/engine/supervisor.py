"""The API's side of the engines: start, feed, watch and restart them; route their events.

Samples are functions of (checkpoint, request), so when an engine dies, what it had in flight is
submitted again to the next one, and the outputs are the same: a client sees only a delay.
"""

import asyncio
import dataclasses
import logging
import math
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.engine.blackbox import BlackBox, Place
from app.engine.messages import (
    HEADER,
    Cancel,
    Counts,
    Done,
    Event,
    Failed,
    Finished,
    Frame,
    Limited,
    Message,
    Pause,
    Ready,
    Submit,
    Unusable,
    decode,
    encode,
)
from app.engine.options import Options

log = logging.getLogger(__name__)

TRIES = 2
"""Engines that may die of a job at the same place before it fails."""
TRIES_KILLED = 4
"""The same, when they were killed: by the kernel for the memory it takes, or by somebody who does
not know of it."""
MAX_DEATHS = 10
"""Engines that may die of a job at any place, while no other was in the batch."""
RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Pause before the n-th start in a row that never got ready; the last one repeats."""
STOP_SECONDS = 5.0
START_SECONDS = 900.0
"""An engine that is not ready by then is started anew."""
WATCH_SECONDS = 0.5
HIGH_WATER, LOW_WATER = 8 << 20, 2 << 20
"""Bytes of events waiting for a reader: above the first its job pauses, until below the second."""


class Refused(Exception):
    """A job is not run, or not to its end, for the server's own reasons; the message says why.
    After `retry_after` seconds it may be (None: nobody knows)."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(Refused):
    """No engine is ready, or the server is shutting down."""


class Overloaded(Refused):
    """The queue is full."""


class ClientOverLimit(Refused):
    """This client has as much in the queue as one client may."""


class TooLate(Refused):
    """The job was not done in the time that it had."""


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


@dataclass(eq=False)
class Flight:
    """A job in flight: what is still to come, who waits for it, and what it is suspected of."""

    submit: Submit
    events: "asyncio.Queue[Event | Refused]" = field(default_factory=asyncio.Queue)
    missing: set[int] = field(default_factory=set)
    sent_frames: set[tuple[int, int]] = field(default_factory=set)
    buffered: int = 0  # bytes in `events`
    is_paused: bool = False
    deaths: Counter[tuple[int, int]] = field(default_factory=Counter)  # of engines, by place

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
        self.buffered += size(event)
        self.events.put_nowait(event)

    async def next(self, deadline: float | None) -> Event:
        """The next event, once there is one. Raises TooLate at `deadline`, on the loop's clock, and
        what the job was refused with meanwhile."""
        try:
            async with asyncio.timeout_at(deadline):
                event = await self.events.get()
        except TimeoutError:
            done, n = len(self.submit.indices) - len(self.missing), len(self.submit.indices)
            raise TooLate(f"{done} of {n} samples were done in the time that there was") from None
        if isinstance(event, Refused):
            raise event
        self.buffered -= size(event)
        return event

    def blame(self, place: Place, *, was_killed: bool) -> str | None:
        """An engine died while this job, maybe beside others, was at `place`. From now on it runs
        in batches of its own, so that the next death tells more. Why it must fail, if it must."""
        was_alone = self.submit.is_alone
        self.deaths[place.sample, place.position] += 1
        self.submit = dataclasses.replace(self.submit, is_alone=True)
        tries = self.deaths[place.sample, place.position]
        enough = tries >= (TRIES_KILLED if was_killed else TRIES)
        if was_alone and (enough or self.deaths.total() >= MAX_DEATHS):
            return (
                f"the engine died {self.deaths.total()} times while running it, the last time at "
                f"step {place.position + 1} of sample {place.sample}"
            )
        return None

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
    def steps(self) -> int:
        """Denoising steps still to do, at most."""
        return len(self.missing) * self.submit.steps

    @property
    def cost(self) -> int:
        """Network rows still to be run, at most."""
        return self.steps * self.submit.rows


def size(event: Event) -> int:
    """Bytes that an event holds, about."""
    match event:
        case Frame():
            return len(event.x_t) + len(event.x_0_hat) + 100
        case Finished():
            return len(event.x_0) + 100
    return 100


async def end(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that is about to end, and kill it if it does not; its status."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


class EngineHandle:
    """One engine process on one device, restarted for as long as the server runs, and when it takes
    no step for `hang_seconds` although it has something to do."""

    def __init__(
        self,
        options: Options,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self.options = options
        self.hang_seconds = hang_seconds
        self.model: dict[str, Any] | None = None
        self.status = "starting"
        self.pid: int | None = None
        self.restarts = 0
        self.hangs = 0
        self.memory_limits = 0  # times that memory ran out in a step
        self.counts: dict[int, Counts] = {}  # by batch size
        self.flights: dict[str, Flight] = {}
        self._on_unusable = on_unusable
        self._on_ready = on_ready
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._box: BlackBox | None = None
        self._is_hung = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"

    @property
    def max_batch(self) -> int:
        """Rows in a step, at most."""
        sizes = self.model["batch_sizes"] if self.model else [self.options.max_batch]
        return int(min(sizes[-1], self.options.max_batch))

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""
        return sum(flight.cost for flight in self.flights.values())

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._keep_running()),
            asyncio.create_task(self._watch()),
        ]

    async def stop(self) -> None:
        """End the process: closing its socket does, else it is killed."""
        self.status = "stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            await end(self._process)
        if self._box is not None:
            self._box.close()
            self._box = None

    def submit(self, flight: Flight) -> None:
        self.flights[flight.submit.id] = flight
        self._send(flight.remainder())

    def keep_pace(self, flight: Flight) -> None:
        """Pause a job whose reader is behind; let it go on when the reader has caught up."""
        pause = flight.buffered > (LOW_WATER if flight.is_paused else HIGH_WATER)
        if pause != flight.is_paused and flight.submit.id in self.flights:
            flight.is_paused = pause
            self._send(Pause(flight.submit.id, pause))

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
            reader, process = await self._spawn()
            became_ready = await self._read(reader)
            if self.model is None and self.status != "unusable":
                self._give_up("the engine died while it was starting")
            if self.status == "unusable":
                return
            failures = 0 if became_ready else failures + 1
            status = await end(process)
            self._after_death(was_killed=status == -signal.SIGKILL and not self._is_hung)

    async def _spawn(self) -> tuple[asyncio.StreamReader, asyncio.subprocess.Process]:
        ours, theirs = socket.socketpair()
        self._box = box = BlackBox.create()
        with theirs:
            fds = [theirs.fileno(), box.fd]
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.engine.process", *map(str, fds),
                *self.options.arguments(), pass_fds=fds,
            )  # fmt: skip
        self._is_hung = False
        self.pid = process.pid
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return reader, process

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
            case Limited(max_rows):
                log.warning("engine %s: memory does for batches of %d", self.pid, max_rows)
                self.memory_limits += 1
                self.options = dataclasses.replace(self.options, max_batch=max_rows)
            case Counts(rows):
                self.counts[rows] = message + self.counts.get(rows, Counts(rows, 0, 0, 0.0))
            case Frame() | Finished() | Done() | Failed():
                flight = self.flights.get(message.id)
                if flight is not None:
                    flight.accept(message)
                    if isinstance(message, Done | Failed):
                        del self.flights[message.id]
                    else:
                        self.keep_pace(flight)

    def _welcome(self, model: dict[str, Any]) -> None:
        if self.model is not None and self.model["sha256"] != model["sha256"]:
            self._give_up("the checkpoint's weights have changed on disk; restart the server")
            return
        self.model = model
        self.status = "ready"
        log.info("engine %s is ready: %s on %s", self.pid, model["name"], model["device"])
        self._on_ready()
        for flight in self.flights.values():
            self._send(flight.remainder())
            if flight.is_paused:
                self._send(Pause(flight.submit.id, True))

    async def _watch(self) -> None:
        """Kill the process when it hangs; `_keep_running` starts another."""
        now = asyncio.get_running_loop().time
        seen, since = (0, 0), now()  # pid and steps, and when they were new or nothing was to do
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            box, process = self._box, self._process
            if box is None or process is None or process.returncode is not None:
                since = now()
                continue
            state = (process.pid, box.steps)
            has_work = any(not flight.is_paused for flight in self.flights.values())
            if state != seen or (self.is_ready and not has_work):
                seen, since = state, now()
            elif now() - since > (self.hang_seconds if self.is_ready else START_SECONDS):
                log.error("engine %s hangs: it is killed", process.pid)
                self.hangs += 1
                self._is_hung = True
                process.kill()
                since = now()

    def _give_up(self, reason: str) -> None:
        self.status = "unusable"
        self._on_unusable(reason)

    def _after_death(self, *, was_killed: bool) -> None:
        self.status = "restarting"
        self.restarts += 1
        log.error(
            "engine %s died with %d jobs in flight", self.pid, len(self.flights),
            extra={"requests": sorted(f.submit.request_id for f in self.flights.values())},
        )  # fmt: skip
        if self._writer is not None:
            self._writer.close()
        places = {}
        if self._box is not None:
            places = {place.job: place for place in self._box.last()}
            self._box.close()
            self._box = None
        for job_id, flight in list(self.flights.items()):
            if not flight.missing:  # only its Done was lost
                flight.accept(Done(job_id, 0.0, 0.0))
                del self.flights[job_id]
            elif job_id in places:
                reason = flight.blame(places[job_id], was_killed=was_killed)
                if reason is not None:
                    flight.accept(Failed(job_id, reason))
                    del self.flights[job_id]


class Supervisor:
    """All engines of the server behind one `run`."""

    def __init__(
        self,
        options: Sequence[Options],
        limits: Limits,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
    ) -> None:
        self.limits = limits
        self.is_draining = False
        self.unusable: str | None = None
        self.outcomes = {"finished": 0, "failed": 0, "cancelled": 0}
        self.has_been_ready = asyncio.Event()  # set by the first engine that is
        self._on_unusable = on_unusable
        self.engines = [
            EngineHandle(option, hang_seconds, self._give_up, self.has_been_ready.set)
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
