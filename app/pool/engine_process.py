"""One engine process: started, fed, watched, and started again when it dies or hangs.

Samples are functions of (checkpoint, request), so what an engine had in flight when it died is
submitted again to the next one, and the outputs are the same: a client sees only a delay.
"""

import asyncio
import dataclasses
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from app.pool.child import Child, end, start
from app.pool.inflight import InFlight
from app.pool.watchdog import Watchdog
from app.tasks import Fatal, Supervised
from app.wire.messages import (
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
    ProtocolError,
    Ready,
    Starting,
    Unusable,
    encode,
)
from app.wire.options import AUTO, Options

log = logging.getLogger("ddpm.engine")

COMMAND = (sys.executable, "-P", "-m", "app.engine")
"""What starts an engine, before its arguments. Without -P it would be another `app`, where one lies
in the working directory."""
RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Pauses before starting again, by the number of starts in a row that never got ready; the last
one repeats."""
TRIES = 3
"""Starts in a row that are tried where the reason may pass, and may not; then the server ends."""
START_SECONDS = 900.0
"""Time after which an engine that is still not ready is started again."""
WATCH_SECONDS = 0.5
"""Time between two looks at the process."""
TELL_SECONDS = 2.0
"""Time after which a step of the start that goes on is logged again."""
SAME = {
    "sha256": "the checkpoint's weights have changed on disk",
    "fingerprint": "the checkpoint's configuration has changed on disk",
    "runtime": "the runtime has changed",
    "precision": "the precision has changed",
}
"""What is the same of a model each time that it is loaded, and what is said where it is not."""
HIGH_WATER, LOW_WATER = 2 << 20, 1 << 19
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
        self._on_ready = on_ready
        self._command = command
        self._child: Child | None = None  # None before the first, and from a death to the next
        self._was_killed_here = False
        self._failures = 0  # starts in a row that never got ready
        self._told_at = 0.0
        self._tasks = Supervised(on_unusable)

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
        """Rows in a step, at most; 0 while it has not chosen yet."""
        if self.model is None:
            return self.options.max_batch
        return min(self.model.batch_sizes[-1], self.options.max_batch)

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""
        return sum(inflight.cost for inflight in self.inflight.values())

    def start(self) -> None:
        """Begin to keep a process running, and to watch it; returns at once."""
        self._tasks.start("what keeps an engine running", self._keep_running())
        self._tasks.start("an engine's watchdog", self._watch())

    async def stop(self) -> None:
        """End the process by closing its socket, or kill it if that does not help."""
        self.status = "stopped"
        await self._tasks.stop()
        if self._child is not None:
            self._child.close()
            await end(self._child.process)
            self._child = None

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
        if self.is_ready and self._child is not None:
            self._child.send(encode(message))

    async def _keep_running(self) -> None:
        """Start a process, and another one whenever it has died. Raises Fatal where that is of no
        use."""
        while True:
            await asyncio.sleep(RESTART_SECONDS[min(self._failures, len(RESTART_SECONDS) - 1)])
            became_ready = await self._live()
            self._failures = 0 if became_ready else self._failures + 1

    async def _live(self) -> bool:
        """A process' life from start to death; did it get ready? Raises Fatal."""
        try:
            self._child = child = await start(self._command, self.options)
        except Exception as error:  # no file, memory or process was left: that may pass
            reason = f"no engine process can be started: {str(error) or repr(error)}"
            if self.model is None:
                self._give_up(reason)
            log.error("%s; it is tried again", reason)
            return False
        self._was_killed_here = False
        self.pid = child.process.pid
        log.info("engine %s is starting; device: %s", self.pid, self.options.device)
        became_ready = await self._listen(child)
        status = await end(child.process)
        was_killed = status == -signal.SIGKILL and not self._was_killed_here
        if self.model is None:
            self._check_first_death(was_killed=was_killed)
        self._after_death(child, was_killed=was_killed)
        return became_ready

    async def _listen(self, child: Child) -> bool:
        """Handle messages until the process is gone, or killed for what it says; did it get ready?
        Raises Fatal."""
        became_ready = False
        try:
            while (message := await child.receive()) is not None:
                became_ready = became_ready or isinstance(message, Ready)
                self._handle(message)
        except ProtocolError as error:
            reason = f"engine {self.pid} sent what this server cannot read ({error})"
            self._kill(child)
            if self.model is None or (not became_ready and self._is_last_try):
                self._give_up(
                    f"{reason}: was the software replaced while it ran? Restart the server"
                )
            log.error("%s: it is killed", reason)
        return became_ready

    @property
    def _is_last_try(self) -> bool:
        return self._failures + 1 >= TRIES

    def _check_first_death(self, *, was_killed: bool) -> None:
        """Raise Fatal, unless the first engine was killed from outside: the kernel does that where
        memory is short, and there may be more of it soon."""
        if not was_killed:
            self._give_up("the engine died while it was starting")
        if self._is_last_try:
            self._give_up(
                f"the engine was killed {TRIES} times while it was starting: is there enough "
                "memory?"
            )
        log.error("engine %s was killed while it was starting; it is tried again", self.pid)

    def _kill(self, child: Child) -> None:
        self._was_killed_here = True
        child.kill()

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
        if self.model is not None:
            self._check_same(self.model, model)
        self.model = model
        if self.options.max_batch == AUTO:  # the next process has the same: others may change bytes
            self.options = dataclasses.replace(self.options, max_batch=model.batch_sizes[-1])
        self.status = "ready"
        self.starting = None
        log.info("engine %s is ready: %s on %s", self.pid, model.name, model.device)
        self._on_ready()
        for inflight in self.inflight.values():
            self._send(inflight.remainder())
            if inflight.is_paused:
                self._send(Pause(inflight.submit.id, True))

    def _check_same(self, before: ModelInfo, now: ModelInfo) -> None:
        """Raise Fatal unless the model makes the pictures that it made before."""
        for name, change in SAME.items():
            if getattr(before, name) != getattr(now, name):
                self._give_up(f"{change}; restart the server")

    async def _watch(self) -> None:
        """Kill the process when it hangs; `_keep_running` starts another."""
        watchdog = Watchdog(WATCH_SECONDS)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            child = self._child
            if child is None or not child.is_running:
                watchdog.still_seconds = 0.0
                continue
            has_work = any(not inflight.is_paused for inflight in self.inflight.values())
            watchdog.look(
                (child.process.pid, self.is_ready, child.recorder.oldest),
                may_rest=self.is_ready and not has_work,
            )
            if watchdog.still_seconds > (self.hang_seconds if self.is_ready else START_SECONDS):
                log.error("engine %s hangs: it is killed", child.process.pid)
                self.hangs += 1
                self._kill(child)
                watchdog.still_seconds = 0.0

    def _give_up(self, reason: str) -> NoReturn:
        self.status = "unusable"
        raise Fatal(reason)

    def _after_death(self, child: Child, *, was_killed: bool) -> None:
        self.status = "restarting"
        self.starting = None
        self.restarts += 1
        log.error(
            "engine %s died with %d jobs in flight", self.pid, len(self.inflight),
            extra={"requests": sorted(f.submit.request_id for f in self.inflight.values())},
        )  # fmt: skip
        places = {place.job: place for place in child.recorder.read()}
        child.close()
        self._child = None
        for inflight in list(self.inflight.values()):
            last = inflight.ending(places, was_killed=was_killed)
            if last is not None:
                inflight.accept(last)
                del self.inflight[inflight.submit.id]
