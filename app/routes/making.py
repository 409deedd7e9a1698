"""Answers that are being made. Who asks for one that is being made already waits for it, too."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager

from app.generation.answer_cache import AnswerCache, Made
from app.generation.budget import Room
from app.generation.collect import gather
from app.generation.formats import Format
from app.generation.plan import Plan
from app.http import tracing
from app.pool.admission import Bounds
from app.pool.inflight import too_late
from app.pool.pool import EnginePool, Whole
from app.pool.version import Version
from app.wire.messages import Submit


class Making:
    """One answer that is being made, for all who wait for it.

    `rooms` are theirs, each large enough for the whole answer: as long as one of them waits, there
    is memory for it.
    """

    def __init__(self, plan: Plan, chosen: Format, inflight: Whole, encoders: Executor) -> None:
        self.inflight = inflight
        self.rooms: list[Room] = []
        self.computed_at: int | None = None  # nanoseconds since the epoch
        self._plan = plan
        self._chosen = chosen
        self._encoders = encoders
        self.task = asyncio.ensure_future(self._make())

    async def wait(self, seconds: float) -> Made:
        """The answer. Raises TooLate after so many seconds, or what `gather` raises."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self.task)
        except TimeoutError:
            raise too_late(self.inflight.pieces) from None

    async def _make(self) -> Made:
        result = await gather(self._plan, self.inflight, self._chosen.needs)
        self.computed_at = time.time_ns()
        with tracing.tracer.start_as_current_span("encode"):
            room = self.rooms[0]
            encoded = await room.run(self._encoders, self._chosen.encode, result)
        return Made(encoded, len(self._plan.labels), self._plan.header, result.timing)


class Makings:
    """All answers that are being made, by their identity."""

    def __init__(self, pool: EnginePool, encoders: Executor, cache: AnswerCache) -> None:
        self.cache = cache
        self._pool = pool
        self._encoders = encoders
        self._named: dict[str, Making] = {}

    def is_made(self, name: str | None) -> bool:
        """Is the answer with this identity being made? None: it has no equal."""
        return name in self._named

    def check_room(self, name: str | None, submit: Submit, bounds: Bounds) -> None:
        """Raise what `join` would raise now. It reserves nothing."""
        making = self._named.get(name or "")
        if making is None:
            self._pool.check_room(submit, bounds)
        else:
            self._pool.check_join(submit, bounds)

    @contextmanager
    def join(
        self,
        name: str | None,
        plan: Plan,
        chosen: Format,
        room: Room,
        version: Version,
        bounds: Bounds,
    ) -> Iterator[Making]:
        """Wait for the answer with this identity; where nobody has asked for it yet, it is begun,
        by this version of its model. None: it has no equal. When the last one leaves that waits,
        what is left of it is cancelled.

        Raises what `EnginePool.submit` does: everybody is admitted as if alone.
        """
        making = self._named.get(name or "")
        if making is None:
            making = self._begin(name, plan, chosen, version, bounds)
        else:
            self._pool.join(making.inflight, plan.submit, bounds)
        making.rooms.append(room)
        try:
            yield making
        finally:
            making.rooms.remove(room)
            if making.rooms:
                self._pool.leave(making.inflight, plan.submit.client)
            else:
                making.task.cancel()
                self._forget(name, making)

    def _begin(
        self, name: str | None, plan: Plan, chosen: Format, version: Version, bounds: Bounds
    ) -> Making:
        held = ExitStack()
        inflight = self._pool.submit(plan.submit, client=bounds)
        held.enter_context(inflight)
        # Whoever comes later may have come with another version of the same weights
        held.enter_context(self._pool.models.using(version))
        making = Making(plan, chosen, inflight, self._encoders)

        def settle(task: asyncio.Task[Made]) -> None:
            held.close()
            self._forget(name, making)
            is_made = not task.cancelled() and task.exception() is None
            if name is not None and is_made:
                self.cache.put(name, task.result())

        making.task.add_done_callback(settle)
        if name is not None:
            self._named[name] = making
        return making

    def _forget(self, name: str | None, making: Making) -> None:
        if name is not None and self._named.get(name) is making:
            del self._named[name]
