"""Jobs as server-sent events, each part of the result as soon as it exists; a trajectory is one."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.generation.collect import Shown, shown, timing
from app.generation.encoding import png_base64
from app.generation.errors import JobFailed
from app.generation.plan import Plan
from app.http import sse, tracing
from app.http.problems import Problem
from app.http.request_log import RequestRecord
from app.pool.errors import Refused
from app.routes.errors import problem_of
from app.wire.messages import Done, Event, Failed, Finished, Frame


class JobStream(StreamingResponse, ABC):
    """Events for the parts of a job's result, a comment whenever nothing came for 15 s, then one
    `done` or `error`.

    The end of the response, or the client's leaving, cancels what is left of the job. The record is
    told of the first part, and of the problem in an `error`, which the status cannot tell any
    more.
    """

    def __init__(
        self,
        plan: Plan,
        events: AsyncIterator[Event],
        record: RequestRecord,
        release: Callable[[], object],
    ) -> None:
        """`release` is called at the end."""
        headers = {**sse.HEADERS, "X-Seed": str(plan.submit.seed)}
        super().__init__(self._blocks(), headers=headers, media_type=sse.MEDIA_TYPE)
        self._plan = plan
        self._events = events
        self._record = record
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not in the generator: it never begins when the client is gone before the first block.
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    async def _blocks(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(sse.with_pauses(self._events)) as paced:
                async for event in paced:
                    yield await self._encode(event)
        except Refused as error:  # the server shuts down, or the job's time is over
            yield self._error(problem_of(error))

    async def _encode(self, event: Event | None) -> bytes:
        match event:
            case None:
                return sse.comment()
            case Done():
                tracing.record_phases(event.queue_seconds, event.run_seconds)
                return sse.event("done", self._end(event))
            case Failed(_, reason):
                return self._error(problem_of(JobFailed(reason)))
            case _:
                part = await self._part(event)
                if part:
                    self._record.saw_frame()
                return part

    @abstractmethod
    async def _part(self, event: Event) -> bytes:
        """The event for a part of the result; empty for what is no part of it."""

    @abstractmethod
    def _end(self, done: Done) -> dict[str, Any]:
        """The data of `done`."""

    def _error(self, problem: Problem) -> bytes:
        self._record.drop(problem.reason)
        return sse.event("error", problem.body())


class TrajectoryStream(JobStream):
    """`frame` events."""

    def __init__(
        self,
        plan: Plan,
        events: AsyncIterator[Event],
        encode: Callable[[Shown], Awaitable[dict[str, Any]]],
        record: RequestRecord,
        release: Callable[[], object],
    ) -> None:
        """`encode` is `frame_data` off the event loop; `release` is called at the end."""
        super().__init__(plan, events, record, release)
        self._encode_frame = encode

    async def _part(self, event: Event) -> bytes:
        frame = shown(self._plan, event) if isinstance(event, Frame | Finished) else None
        if frame is None:  # its x_0 is not asked for
            return b""
        return sse.event("frame", await self._encode_frame(frame))

    def _end(self, done: Done) -> dict[str, Any]:
        return {**self._plan.header, "timing": timing(done)}


def frame_data(frame: Shown) -> dict[str, Any]:
    """The data of a `frame` event; its pictures are PNGs in base64."""
    return {
        "index": frame.index,
        "t": frame.t,
        "x_t": png_base64(frame.x_t),
        "x0_hat": png_base64(frame.x_0_hat),
    }
