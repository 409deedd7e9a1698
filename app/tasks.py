"""Running asyncio tasks so that none is left behind, and none ends unseen."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

log = logging.getLogger("ddpm.server")

T = TypeVar("T")
AGAIN_SECONDS = 0.5
"""Seconds after which a task that has not ended is cancelled again."""


class Fatal(Exception):
    """The server cannot go on. The message says why, to whoever runs it."""


class Supervised:
    """Tasks that run beside whoever starts them, who does not wait for their end.

    When one ends before `stop`, the server has lost a part of itself: `on_end` is told why, and is
    to end the server. The message of a Fatal is the reason as it is; any other end is a bug, and
    is logged with its traceback.
    """

    def __init__(self, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        self._may_return: dict[asyncio.Task[None], bool] = {}  # of those that run

    def start(
        self, name: str, work: Coroutine[Any, Any, None], *, may_return: bool = False
    ) -> None:
        """Run `work` until `stop`; with `may_return` it may be done before. `name` says what it
        does, for the log."""
        task = asyncio.create_task(work, name=name)
        self._may_return[task] = may_return
        task.add_done_callback(self._see)

    async def stop(self) -> None:
        """End all tasks, and wait for that."""
        tasks = list(self._may_return)
        self._may_return.clear()
        await end(tasks)

    def _see(self, task: asyncio.Task[None]) -> None:
        """Tell of a task that has ended before its time, or failed while it was stopped."""
        was_stopped = task not in self._may_return
        may_return = self._may_return.pop(task, True)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None and may_return:
            return
        if was_stopped:
            if not task.cancelled():
                log.error("%s: an error while it was stopped", task.get_name(), exc_info=error)
        elif isinstance(error, Fatal):
            self._on_end(str(error))
        else:
            log.error("%s: it ended, and with it ends the server", task.get_name(), exc_info=error)
            why = "it returned" if error is None else repr(error)
            self._on_end(f"an error in the server: {task.get_name()} ended: {why}")


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
