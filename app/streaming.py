"""A trajectory as server-sent events, each frame as soon as it exists."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any

from app.encoding import png_base64
from app.engine.messages import Done, Event, Failed, Frame
from app.engine.supervisor import Supervisor
from app.planning import Plan
from app.problems import Problem
from app.results import image

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": keep-alive\n\n"


async def event_stream(
    plan: Plan, supervisor: Supervisor, encoders: Executor
) -> AsyncIterator[bytes]:
    """`frame` events, a comment whenever nothing came for 15 s, then one `done` or `error`.

    The client's leaving closes this generator, which cancels the job.
    """
    times = dict(zip(plan.submit.shown, plan.shown_times, strict=True))
    async with aclosing(supervisor.run(plan.submit)) as events:
        async for event in _with_pauses(events):
            match event:
                case None:
                    yield KEEP_ALIVE
                case Frame():
                    loop = asyncio.get_running_loop()
                    pictures = await loop.run_in_executor(encoders, _pictures, plan, event)
                    data = {"index": event.index, "t": times[event.position], **pictures}
                    yield _event("frame", data)
                case Done(_, queue_seconds, run_seconds):
                    timing = {
                        "queued_s": round(queue_seconds, 6),
                        "compute_s": round(run_seconds, 6),
                    }
                    yield _event("done", {**plan.header, "timing": timing})
                case Failed(_, reason):
                    yield _event("error", Problem(500, reason).body())


def _pictures(plan: Plan, frame: Frame) -> dict[str, str]:
    return {
        "x_t": png_base64(image(plan, frame.x_t)),
        "x0_hat": png_base64(image(plan, frame.x_0_hat)),
    }


async def _with_pauses(events: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
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


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
