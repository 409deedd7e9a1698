"""Cancellation at a chosen place."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def is_cancelled_at(work: Coroutine[Any, Any, object], place: int, times: int = 1) -> bool:
    """Run `work` in a task that is cancelled when it waits for the `place`-th time, from 1, and
    again each time that it waits after that, `times` in all; whether it waited `place` times."""
    waits = 0

    @types.coroutine
    def cancel_itself() -> Generator[Any, Any, None]:
        nonlocal waits
        step, argument = work.send, None
        while True:
            try:
                awaited = step(argument)
            except StopIteration:
                return
            waits += 1
            if place <= waits < place + times:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            step, argument = work.send, None
            try:
                yield awaited
            except BaseException as error:
                step, argument = work.throw, error

    async def run() -> None:
        await cancel_itself()

    task = asyncio.create_task(run())
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return waits >= place
