"""The terms of the bound as server-sent events, each as soon as it exists."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from app.generation import bound
from app.generation.budget import Room
from app.generation.collect import timing
from app.generation.plan import Plan
from app.http import sse
from app.http.request_log import RequestRecord
from app.pool.pool import Whole
from app.routes.streams import JobStream
from app.wire.messages import Done, Event, Measured


class BoundStream(JobStream):
    """`term` events, then one `done` with the sums or `error`."""

    def __init__(
        self,
        plan: Plan,
        T: int,
        inflight: Whole,
        room: Room,
        encoders: Executor,
        record: RequestRecord,
        release: Callable[[], object],
    ) -> None:
        """Pictures are encoded by the `encoders`, in the `room` that is reserved for that."""
        super().__init__(plan, inflight, record, release)
        self._T = T
        self._room = room
        self._encoders = encoders
        self._terms: list[Measured] = []  # without their pictures

    async def _part(self, event: Event) -> bytes:
        if not isinstance(event, Measured):
            return b""
        self._terms.append(dataclasses.replace(event, x_t=b"", x_0_hat=b""))
        entry = await self._room.run(self._encoders, bound.entry, self._plan, event)
        return sse.event("term", {"index": bound.picture_of(self._plan, event), **entry})

    def _end(self, done: Done) -> dict[str, Any]:
        totals = bound.totals(self._plan, self._terms, self._T)
        return {**bound.header(self._plan), "images": totals, "timing": timing(done)}
