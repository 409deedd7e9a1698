"""A trajectory as server-sent events, each frame as soon as it exists."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any

from app.generation.collect import image, timing
from app.generation.encoding import png_base64
from app.generation.plan import Plan
from app.http import tracing
from app.http.problems import Problem, from_engine
from app.http.request_log import Record
from app.pool.inflight import Refused
from app.pool.pool import Supervisor
from app.wire.messages import Done, Event, Failed, Finished, Frame

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": keep-alive\n\n"


async def event_stream(
    plan: Plan, supervisor: Supervisor, encoders: Executor, record: Record, wait_seconds: float
) -> AsyncIterator[bytes]:
    """`frame` events, a comment whenever nothing came for 15 s, then one `done` or `error`.

    The client's leaving closes this generator, which cancels the job. The record is told of the
    first frame, and of the problem in an `error`, which the status cannot tell any more.
    """
    running = supervisor.run(plan.submit, wait_seconds)
    try:
        # The pauses are closed first: they may be waiting for the next of the events.
        async with aclosing(running) as events, aclosing(_with_pauses(events)) as paced:
            async for event in paced:
                if event is None:
                    yield KEEP_ALIVE
                elif not isinstance(event, Finished):  # its last frame says the same
                    yield await _encoded(plan, event, encoders, record)
    except Refused as error:  # the room it was accepted for is gone, or its time is over
        yield _error(from_engine(error), record)


async def _encoded(
    plan: Plan, event: Frame | Done | Failed, encoders: Executor, record: Record
) -> bytes:
    match event:
        case Frame():
            record.saw_frame()
            loop = asyncio.get_running_loop()
            return sse("frame", await loop.run_in_executor(encoders, _frame, plan, event))
        case Done():
            tracing.record_engine(event)
            return sse("done", {**plan.header, "timing": timing(event)})
        case Failed(_, reason):
            return _error(Problem(500, reason), record)


def _error(problem: Problem, record: Record) -> bytes:
    record.drop(problem.reason)
    return sse("error", problem.body())


def _frame(plan: Plan, frame: Frame) -> dict[str, Any]:
    return {
        "index": frame.index,
        "t": plan.shown_times[plan.submit.shown.index(frame.position)],
        "x_t": png_base64(image(plan, frame.x_t)),
        "x0_hat": png_base64(image(plan, frame.x_0_hat)),
    }


async def _with_pauses(events: AsyncIterator[Event]) -> AsyncGenerator[Event | None, None]:
    """The events; None whenever none came for KEEP_ALIVE_SECONDS."""
    following: asyncio.Future[Event] | None = None
    try:
        while True:
            if following is None:
                following = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield None
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def sse(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    """One server-sent event."""
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
