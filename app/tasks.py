"""Running asyncio tasks so that none is left behind."""

import asyncio
import math
import time
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
AGAIN_SECONDS = 0.5
"""Seconds after which a task that has not ended is cancelled again."""


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines at once. When one fails, or this is cancelled, all of them are ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, again and again, until all are done.

    One cancellation may not be enough: if it interrupts a database call, the driver may raise an
    error of its own, which the task takes for a failure to recover from.
    """
    pending, is_cancelled = set(tasks), False
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError:
            is_cancelled = True
            pending = {task for task in pending if not task.done()}
    if is_cancelled:
        raise asyncio.CancelledError


async def finish(work: Coroutine[Any, Any, T], patience: float = math.inf) -> T:
    """The result of `work`, which runs to its end: if this is cancelled meanwhile, the cancellation
    is raised after that.

    `patience` is how many seconds a cancellation waits for that end, at most; then `work` is left
    to itself.
    """
    task, is_cancelled, deadline = asyncio.ensure_future(work), False, math.inf
    while not task.done() and time.monotonic() < deadline:
        left = deadline - time.monotonic()
        try:
            await asyncio.wait({task}, timeout=None if math.isinf(left) else left)
        except asyncio.CancelledError:
            if not is_cancelled:
                is_cancelled, deadline = True, time.monotonic() + patience
    if not task.done():
        raise asyncio.CancelledError
    if is_cancelled:
        if not task.cancelled():
            task.exception()  # it is seen, so that nobody logs it as lost
        raise asyncio.CancelledError
    return task.result()
