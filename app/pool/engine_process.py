"""One engine process: started, fed, watched, and started again when it dies or hangs.

Samples are functions of (checkpoint, request), so what an engine had in flight when it died is
submitted again to the next one, and the outputs are the same: a client sees only a delay.
"""

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from app.pool.inflight import InFlight
from app.pool.watchdog import Watchdog
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import (
    HEADER,
    Cancel,
    Counts,
    Done,
    Failed,
    Finished,
    Frame,
    Limited,
    Message,
    ModelInfo,
    Pause,
    Ready,
    Starting,
    Unusable,
    decode,
    encode,
)
from app.wire.options import Options

log = logging.getLogger("ddpm.engine")

COMMAND = (sys.executable, "-P", "-m", "app.engine")
"""What starts an engine, before its arguments. Without -P it would be another `app`, where one lies
in the working directory."""
RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Pauses before starting again, by the number of starts in a row that never got ready; the last
one repeats."""
STOP_SECONDS = 5.0
"""Time that a process has for ending by itself."""
START_SECONDS = 900.0
"""Time after which an engine that is still not ready is started again."""
WATCH_SECONDS = 0.5
"""Time between two looks at the process."""
TELL_SECONDS = 2.0
"""Time after which a step of the start that goes on is logged again."""
HIGH_WATER, LOW_WATER = 8 << 20, 2 << 20
"""Bytes of events waiting for a reader: above the first its job pauses, until below the second."""


class EngineProcess:
    """One engine process on one device. It is started again whenever it dies, for as long as the
    server runs; it is killed when a step takes more than `hang_seconds`, or when none is taken
    although there is something to do."""

    def __init__(
        self,
        options: Options,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        on_ready: Callable[[], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.options = options
        self.hang_seconds = hang_seconds
        self.model: ModelInfo | None = None
        self.status = "starting"
        self.starting: Starting | None = None  # what it does before it is ready
        self.pid: int | None = None
        self.restarts = 0
        self.hangs = 0
        self.memory_limits = 0  # times that memory ran out in a step
        self.counts: dict[int, Counts] = {}  # by batch size
        self.inflight: dict[str, InFlight] = {}
        self._on_unusable = on_unusable
        self._on_ready = on_ready
        self._command = command
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._recorder: FlightRecorder | None = None
        self._is_hung = False
        self._told_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        """Can it take steps now?"""
        return self.status == "ready"

    @property
    def state(self) -> str:
        """The status, and what the engine does while it starts."""
        return f"{self.status}: {self.starting}" if self.starting else self.status

    @property
    def max_batch(self) -> int:
        """Rows in a step, at most."""
        if self.model is None:
            return self.options.max_batch
        return min(self.model.batch_sizes[-1], self.options.max_batch)

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""
        return sum(inflight.cost for inflight in self.inflight.values())

    def start(self) -> None:
        """Begin to keep a process running, and to watch it; returns at once."""
        self._tasks = [
            asyncio.create_task(self._keep_running()),
            asyncio.create_task(self._watch()),
        ]

    async def stop(self) -> None:
        """End the process by closing its socket, or kill it if that does not help."""
        self.status = "stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            await end(self._process)
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def submit(self, inflight: InFlight) -> None:
        """Run a job, now or as soon as the engine is ready again."""
        self.inflight[inflight.submit.id] = inflight
        self._send(inflight.submit)

    def keep_pace(self, inflight: InFlight) -> None:
        """Pause a job whose reader is behind; let it go on when the reader has caught up."""
        pause = inflight.buffered > (LOW_WATER if inflight.is_paused else HIGH_WATER)
        if pause != inflight.is_paused and inflight.submit.id in self.inflight:
            inflight.is_paused = pause
            self._send(Pause(inflight.submit.id, pause))

    def release(self, inflight: InFlight) -> None:
        """Cancel what is left of a job, since nobody reads its events any more."""
        if self.inflight.pop(inflight.submit.id, None) is not None:
            self._send(Cancel(inflight.submit.id))

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
        try:
            self._recorder = recorder = FlightRecorder.create()
            with theirs:
                fds = [theirs.fileno(), recorder.fd]
                # In a session of its own: Ctrl-C and signals to a group are for this process.
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command, *map(str, fds), *self.options.arguments(),
                    pass_fds=fds, env=same_modules(), start_new_session=True,
                )  # fmt: skip
            self._is_hung = False
            self.pid = process.pid
            log.info("engine %s is starting; device: %s", self.pid, self.options.device)
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:  # a server that stops while an engine starts cancels this
            ours.close()
            raise
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
            case Starting():
                self._tell(message)
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
                inflight = self.inflight.get(message.id)
                if inflight is not None:
                    inflight.accept(message)
                    if isinstance(message, Done | Failed):
                        del self.inflight[message.id]
                    else:
                        self.keep_pace(inflight)

    def _tell(self, starting: Starting) -> None:
        """Log what the engine does while it starts: each step once, a long one now and then."""
        now = time.monotonic()
        is_new = self.starting is None or starting.step != self.starting.step
        is_due = is_new or now - self._told_at > TELL_SECONDS
        self._told_at = now if is_due else self._told_at
        self.starting = starting
        level = logging.INFO if is_due else logging.DEBUG
        log.log(level, "engine %s: %s", self.pid, starting)

    def _welcome(self, model: ModelInfo) -> None:
        if self.model is not None and self.model.sha256 != model.sha256:
            self._give_up("the checkpoint's weights have changed on disk; restart the server")
            return
        self.model = model
        self.status = "ready"
        self.starting = None
        log.info("engine %s is ready: %s on %s", self.pid, model.name, model.device)
        self._on_ready()
        for inflight in self.inflight.values():
            self._send(inflight.remainder())
            if inflight.is_paused:
                self._send(Pause(inflight.submit.id, True))

    async def _watch(self) -> None:
        """Kill the process when it hangs; `_keep_running` starts another."""
        watchdog = Watchdog(WATCH_SECONDS)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            process, recorder = self._process, self._recorder
            if recorder is None or process is None or process.returncode is not None:
                watchdog.still_seconds = 0.0
                continue
            has_work = any(not inflight.is_paused for inflight in self.inflight.values())
            watchdog.look(
                (process.pid, self.is_ready, recorder.oldest),
                may_rest=self.is_ready and not has_work,
            )
            if watchdog.still_seconds > (self.hang_seconds if self.is_ready else START_SECONDS):
                log.error("engine %s hangs: it is killed", process.pid)
                self.hangs += 1
                self._is_hung = True
                process.kill()
                watchdog.still_seconds = 0.0

    def _give_up(self, reason: str) -> None:
        self.status = "unusable"
        self._on_unusable(reason)

    def _after_death(self, *, was_killed: bool) -> None:
        self.status = "restarting"
        self.starting = None
        self.restarts += 1
        log.error(
            "engine %s died with %d jobs in flight", self.pid, len(self.inflight),
            extra={"requests": sorted(f.submit.request_id for f in self.inflight.values())},
        )  # fmt: skip
        if self._writer is not None:
            self._writer.close()
        places = {}
        if self._recorder is not None:
            places = {place.job: place for place in self._recorder.read()}
            self._recorder.close()
            self._recorder = None
        for inflight in list(self.inflight.values()):
            last = inflight.ending(places, was_killed=was_killed)
            if last is not None:
                inflight.accept(last)
                del self.inflight[inflight.submit.id]


def same_modules() -> dict[str, str]:
    """The environment in which another Python finds its modules where this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def end(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that is about to end, and kill it if it does not. Returns its status."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
