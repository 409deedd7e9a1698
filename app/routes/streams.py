"""A trajectory as server-sent events, each frame as soon as it exists."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any

from app.generation.collect import image, timing
from app.generation.encoding import png_base64
from app.generation.plan import Plan
from app.http import tracing
from app.http.problems import Problem
from app.http.request_log import RequestRecord
from app.http.sse import KEEP_ALIVE, sse, with_pauses
from app.pool.errors import Refused
from app.pool.pool import Supervisor
from app.routes.errors import problem_of
from app.wire.messages import Done, Failed, Finished, Frame


async def event_stream(
    plan: Plan,
    supervisor: Supervisor,
    encoders: Executor,
    record: RequestRecord,
    wait_seconds: float,
) -> AsyncIterator[bytes]:
    """`frame` events, a comment whenever nothing came for 15 s, then one `done` or `error`.

    The client's leaving closes this generator, which cancels the job. The record is told of the
    first frame, and of the problem in an `error`, which the status cannot tell any more.
    """
    running = supervisor.run(plan.submit, wait_seconds)
    try:
        # The pauses are closed first: they may be waiting for the next of the events.
        async with aclosing(running) as events, aclosing(with_pauses(events)) as paced:
            async for event in paced:
                if event is None:
                    yield KEEP_ALIVE
                elif not isinstance(event, Finished):  # its last frame says the same
                    yield await _encoded(plan, event, encoders, record)
    except Refused as error:  # the room it was accepted for is gone, or its time is over
        yield _error(problem_of(error), record)


async def _encoded(
    plan: Plan, event: Frame | Done | Failed, encoders: Executor, record: RequestRecord
) -> bytes:
    match event:
        case Frame():
            record.saw_frame()
            loop = asyncio.get_running_loop()
            return sse("frame", await loop.run_in_executor(encoders, _frame, plan, event))
        case Done():
            tracing.record_phases(event.queue_seconds, event.run_seconds)
            return sse("done", {**plan.header, "timing": timing(event)})
        case Failed(_, reason):
            return _error(Problem(500, reason), record)


def _error(problem: Problem, record: RequestRecord) -> bytes:
    record.drop(problem.reason)
    return sse("error", problem.body())


def _frame(plan: Plan, frame: Frame) -> dict[str, Any]:
    return {
        "index": frame.index,
        "t": plan.shown_times[plan.submit.shown.index(frame.position)],
        "x_t": png_base64(image(plan, frame.x_t)),
        "x0_hat": png_base64(image(plan, frame.x_0_hat)),
    }
