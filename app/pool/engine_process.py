"""One engine process, here or on another machine: started, fed, watched, and started again when it
dies or hangs.

Samples are functions of (checkpoint, request), so what an engine had in flight when it died is
submitted again to another one, or to the next, and the outputs are the same: a client sees only a
delay.
"""

import asyncio
import logging
from collections.abc import Callable

from app.pool import watchdog
from app.pool.connection import Connect, Connection, Death
from app.pool.engine_jobs import EngineJobs
from app.pool.inflight import InFlight
from app.pool.loads import TRIES, Listener, Loads
from app.pool.progress import Progress
from app.pool.starts import Starts
from app.pool.tally import Tally
from app.pool.version import name_of
from app.pool.watchdog import ProcessWatch
from app.tasks import Fatal, Supervised
from app.wire.codec import ProtocolError, encode
from app.wire.messages import (
    Counts,
    Done,
    Failed,
    Finished,
    Frame,
    Limited,
    Load,
    Loaded,
    Measured,
    Message,
    Starting,
    Unusable,
)

log = logging.getLogger("ddpm.engine")


class EngineProcess:
    """One engine process on one device. It is started again whenever it dies, for as long as the
    server runs, and has the models then that it had; it is killed when a step takes more than
    `hang_seconds`, or when none is taken although there is something to do."""

    def __init__(
        self,
        name: str,
        place: str,
        connect: Connect,
        hang_seconds: float,
        on_unusable: Callable[[str], None],
        listener: Listener,
    ) -> None:
        """`name` is what metrics call it, `place` says in the log where it runs; `connect` starts a
        process. `on_unusable` is told why it cannot go on."""
        self.name = name
        self.place = place
        self.hang_seconds = hang_seconds
        self.loads = Loads()
        self.status = "starting"
        self.progress = Progress()  # of the load of a model
        self.pid: int | None = None
        self.restarts = 0
        self.hangs = 0
        self.memory_limits = 0  # times that memory ran out in a step
        self.counts: dict[tuple[str, int], Counts] = {}  # by the model's name and batch size
        self.jobs = EngineJobs(self.loads.loaded, self._send, self._order)
        self._listener = listener
        self._connect = connect
        self._process: Connection | None = None  # none from a death to the next start
        self._starts = Starts()
        self._tasks = Supervised(on_unusable)

    @property
    def is_ready(self) -> bool:
        """Can it take steps now?"""
        return self.status == "ready"

    @property
    def starting(self) -> Starting | None:
        """What it does to load a model."""
        return self.progress.now

    @property
    def state(self) -> str:
        """The status, and what the engine does while it loads a model."""
        return f"{self.status}: {self.starting}" if self.starting else self.status

    @property
    def max_batch(self) -> dict[str, int]:
        """Rows in a step of each loaded model, at most, by the model's name."""
        return {name_of(model): self.loads.max_batch(model) for model in self.loads.loaded}

    @property
    def inflight(self) -> dict[str, InFlight]:
        """The jobs that are not over, by id."""
        return self.jobs.inflight

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""
        return self.tally.rows.total()

    def serves(self, model: str) -> bool:
        """Can it take steps of this model now, and is it to go on with that?"""
        return model in self.loads.loaded and model in self.loads.wanted

    def has_jobs(self, model: str) -> bool:
        """Are jobs of this model not over?"""
        return any(inflight.submit.model == model for inflight in self.inflight.values())

    def start(self) -> None:
        """Begin to keep a process running, and to watch it; returns at once."""
        self._tasks.start("what keeps an engine running", self._keep_running())
        self._tasks.start("an engine's watchdog", self._watch())

    async def stop(self) -> None:
        """End the process by closing its socket, or kill it if that does not help."""
        self.status = "stopped"
        await self._tasks.stop()
        if self._process is not None:
            self._process.hang_up()
            await self._process.end()
            self._process = None

    def load(self, load: Load) -> None:
        """Have a model from now on: this process, and each that follows it."""
        self.loads.want(load)
        self._order()

    def unload(self, model: str) -> None:
        """Forget a model, of which no job is left."""
        self.loads.forget(model)
        self._order()

    def fail(self, model: str, reason: str) -> None:
        """Forget a model with its jobs, which end for this reason."""
        self.jobs.refuse(model, reason)
        self.unload(model)

    def submit(self, inflight: InFlight) -> None:
        """Run a job, now or as soon as its model is loaded again."""
        self.jobs.submit(inflight)

    def adopt(self, inflight: InFlight) -> None:
        """Run what is left of another engine's job."""
        self.jobs.adopt(inflight)
        self._order()

    def give_up(self, inflight: InFlight) -> None:
        """Run a job no more: another engine has it."""
        self.jobs.give_up(inflight)

    @property
    def tally(self) -> Tally:
        """What is left to do."""
        return self.jobs.tally

    def _send(self, message: Message) -> None:
        if self._process is not None:
            self._process.send(encode(message))

    def _order(self) -> None:
        """Have the process forget what it is to have no more, and load what is next."""
        if self._process is None or self.loads.are_settled:
            return
        needed = {inflight.submit.model for inflight in self.inflight.values()}
        for message in self.loads.orders(needed, self.inflight):
            self._send(message)
        if self.is_ready and not self.loads.loaded and self.loads.wanted:
            self.status = "starting"

    async def _keep_running(self) -> None:
        """Start a process, and another one whenever it has died. Raises Fatal where that is of no
        use."""
        try:
            while True:
                await asyncio.sleep(self._starts.pause)
                self._starts.note(became_ready=await self._live())
        except Fatal:
            self.status = "unusable"
            raise

    async def _live(self) -> bool:
        """A process' life from start to death; did it load a model? Raises Fatal."""
        try:
            self._process = process = await self._connect()
        except Exception as error:  # no file, memory or process was left: that may pass
            reason = f"no engine process can be started: {str(error) or repr(error)}"
            self._starts.check(reason)
            log.error("%s; it is tried again", reason)
            return False
        self.pid = process.pid
        log.info("engine %s is starting; %s", self.pid, self.place)
        self._order()
        became_ready = await self._listen(process)
        death = await process.end()
        self._process = None
        if not self._starts.has_loaded:
            self._starts.check_death(was_killed=death.was_killed)
            log.error("engine %s was killed while it was starting; it is tried again", self.pid)
        self._after_death(death)
        return became_ready

    async def _listen(self, process: Connection) -> bool:
        """Handle messages until the process is gone, or killed for what it says; did it load a
        model? Raises Fatal."""
        became_ready = False
        try:
            while (message := await process.receive()) is not None:
                became_ready = became_ready or isinstance(message, Loaded)
                self._handle(message)
        except ProtocolError as error:
            reason = f"engine {self.pid} sent what this server cannot read ({error})"
            process.kill()
            self._starts.check_words(reason, became_ready=became_ready)
            log.error("%s: it is killed", reason)
        return became_ready

    def _handle(self, message: Message) -> None:
        match message:
            case Starting():
                self.progress.note(self.pid, message)
            case Loaded():
                self._welcome(message)
            case Unusable(model, reason):
                self._starts.check(reason)
                log.error("engine %s cannot load %s: %s", self.pid, name_of(model), reason)
                self.progress.now = None
                self.loads.reject(model)
                self._order()
                self._listener.on_unusable(message)
            case Limited(model, max_rows):
                log.warning(
                    "engine %s: memory does for batches of %d of %s",
                    self.pid, max_rows, name_of(model),
                )  # fmt: skip
                self.memory_limits += 1
                self.loads.limit(model, max_rows)
            case Counts(model, rows):
                counted = name_of(model), rows
                before = self.counts.get(counted, Counts(model, rows, 0, 0, 0.0))
                self.counts[counted] = message + before
            case Frame() | Finished() | Measured() | Done() | Failed():
                self.jobs.accept(message)

    def _welcome(self, loaded: Loaded) -> None:
        """Use a model that the process has now, for the jobs that have waited for it, too."""
        self._starts.has_loaded = True
        self.progress.now = None
        model, change = loaded.model, self.loads.accept(loaded)
        if change is not None:
            self.loads.forget(model)
            self._order()
            self._listener.on_unusable(Unusable(model, change, has_changed=True))
            return
        self.status = "ready"
        log.info("engine %s is ready: %s on %s", self.pid, name_of(model), loaded.info.device)
        self.jobs.resume(model, loaded.info)
        self._order()
        self._listener.on_loaded(loaded)

    async def _watch(self) -> None:
        """Kill the process when it hangs; `_keep_running` starts another."""
        watch = ProcessWatch(self.hang_seconds)
        while True:
            await asyncio.sleep(watchdog.WATCH_SECONDS)
            process = self._process
            if watch.sees_a_hang(process, self.loads, have_work=self.jobs.have_work):
                assert process is not None
                log.error("engine %s hangs: it is killed", process.pid)
                self.hangs += 1
                process.kill()

    def _after_death(self, death: Death) -> None:
        self.status = "restarting"
        self.progress.now = None
        self.restarts += 1
        log.error(
            "engine %s died with %d jobs in flight", self.pid, len(self.inflight),
            extra={"requests": sorted(f.submit.request_id for f in self.inflight.values())},
        )  # fmt: skip
        places = {place.job: place for place in death.places}
        # What is being loaded comes first among the suspects; then the jobs are blamed for nothing.
        was_loading = self.loads.current
        failed = self.loads.die(places)
        self.jobs.outlive(places if was_loading is None else {}, was_killed=death.was_killed)
        if failed is not None:
            self.loads.forget(failed)
            reason = f"the engine died {TRIES} times while it was loading it"
            self._listener.on_unusable(Unusable(failed, reason), is_deadly=True)
        self._listener.on_death()
