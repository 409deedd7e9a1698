"""Tasks that end when they are told to."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
AGAIN_SECONDS = 0.5


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all at once, until this is cancelled or one fails; none of them is left behind."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again and again until they are over: a cancellation that reaches a database
    call comes back as an error of the database, which the task may take for one to be survived."""
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


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which runs to its end: if this is cancelled meanwhile, the cancellation
    is raised after that."""
    task, is_cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        if not task.cancelled():
            task.exception()  # it is seen, so that nobody logs it as lost
        raise asyncio.CancelledError
    return task.result()
