"""Gives the pool an engine for each replica, as replicas come and go."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from app.cluster.link import ReplicaLink, apart
from app.pool.connection import Connection
from app.pool.engine_process import EngineProcess
from app.pool.pace import backlog_seconds
from app.pool.pool import EnginePool
from app.tasks import end
from app.wire.options import Options

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

log = logging.getLogger("ddpm.cluster")

LOOK_SECONDS = 0.1
"""How often to look whether an engine that leaves has done its work."""
TRIES = 3
"""Engines that may be unable to go on before the first is ready, until the server gives up."""
AGAIN_SECONDS = 5.0
"""Time after which an engine that could not go on is tried again."""
CALL_SECONDS = 10.0
"""Time after which Ray is asked for a replica again."""
NEEDED = 0.001
"""Seconds of work that an engine has, at least, as long as it is to stay."""


Listener = Callable[[frozenset[str]], None]


class Replicas:
    """The running replicas of the deployment `engines`, as this process knows them. Its `listener`
    is told whenever they change, in the router's thread."""

    def __init__(self) -> None:
        self.now: frozenset[str] = frozenset()
        self.listener: Listener | None = None

    def note(self, replicas: frozenset[str]) -> None:
        """These are running."""
        self.now = replicas
        if self.listener is not None:
            self.listener(replicas)


REPLICAS = Replicas()
"""One of a process: Ray makes the router, and gives nobody a reference to it."""


class Roster:
    """The engines of a pool, one on each replica. An engine whose replica stops does what it has,
    and gets no more."""

    def __init__(
        self,
        pool: EnginePool,
        engines: "DeploymentHandle[Any]",
        options: Options,
        hang_seconds: float,
        silence_seconds: float,
        leave_seconds: float,
        on_unusable: Callable[[str], None],
        idle_seconds: float | None = None,
    ) -> None:
        """An engine that leaves has `leave_seconds`; then others do what is left. `on_unusable` is
        told why no engine can ever start. The last engine is not needed after `idle_seconds` in
        which nobody asked; None: one is always needed."""
        self._pool = pool
        self._handle = engines.options()  # from now on its router knows the replicas
        self._options = options
        self._hang_seconds = hang_seconds
        self._silence_seconds = silence_seconds
        self._leave_seconds = leave_seconds
        self._on_unusable = on_unusable
        self._idle_seconds = idle_seconds
        pool.models.may_rest = idle_seconds is not None
        self._failures = 0  # of engines, before the first was ready
        self._engines: dict[str, EngineProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the replicas as long as the block lasts."""
        loop = asyncio.get_running_loop()

        def note(replicas: frozenset[str]) -> None:
            loop.call_soon_threadsafe(self.update, replicas)

        REPLICAS.listener = note
        self.update(REPLICAS.now)
        if self._idle_seconds is not None:
            self._start(self._call_when_needed())
        try:
            yield
        finally:
            REPLICAS.listener = None
            await end(self._tasks)

    def update(self, replicas: frozenset[str]) -> None:
        """Have an engine for each of these replicas, and for no other."""
        for replica in sorted(replicas - self._engines.keys()):
            self._add(replica)
        for replica in sorted(self._engines.keys() - replicas):
            log.info("replica %s leaves", replica)
            self._start(self._leave(self._engines.pop(replica)))
        if not replicas and self._idle_seconds is not None:
            self._pool.models.rest()

    def _add(self, replica: str) -> None:
        async def connect() -> Connection:
            link = ReplicaLink(
                self._handle,
                replica,
                self._silence_seconds,
                lambda: self._work_seconds(engine),
                lambda: replica in REPLICAS.now,
            )
            await link.open(self._options)
            return link

        def on_unusable(reason: str) -> None:
            log.error("the engine of replica %s cannot go on: %s", replica, reason)
            self._failures += not self._pool.models.has_been_ready.is_set()
            if self._failures >= TRIES:
                self._on_unusable(reason)
            self._start(self._try_again(replica, engine))

        engine = EngineProcess(
            replica, f"replica {replica}", connect, self._hang_seconds, on_unusable, self._pool
        )
        self._engines[replica] = engine
        self._pool.add(engine)

    def _work_seconds(self, engine: EngineProcess) -> float:
        """What Ray's autoscaler is told of an engine: the seconds of work that it has, and a little
        as long as it is needed."""
        seconds = backlog_seconds(engine)
        if self._idle_seconds is None or self._pool.models.idle_seconds > self._idle_seconds:
            return seconds
        return max(seconds, NEEDED)

    async def _call_when_needed(self) -> None:
        """Have Ray start a replica whenever there is none and a model is asked for: it does so for
        a call that waits."""
        models, wake = self._pool.models, self._handle.options(method_name="wake")
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not models.awaits_engine:
                continue
            log.info("an engine is asked for")
            call, until = wake.remote(replica=""), loop.time() + CALL_SECONDS
            try:
                while models.awaits_engine and loop.time() < until:
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                call.cancel()

    async def _leave(self, engine: EngineProcess) -> None:
        self._pool.retire(engine)
        deadline = asyncio.get_running_loop().time() + self._leave_seconds
        while engine.inflight and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        await self._pool.remove(engine)

    async def _try_again(self, replica: str, engine: EngineProcess) -> None:
        """Make another engine of a replica, in a while."""
        await asyncio.sleep(AGAIN_SECONDS)
        if self._engines.get(replica) is engine:
            del self._engines[replica]
            await self._pool.remove(engine)
            self.update(REPLICAS.now)

    def _start(self, work: Any) -> None:
        task = apart(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
