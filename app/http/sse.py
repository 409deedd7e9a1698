"""Server-sent events, and the comments that keep a quiet stream's connection open."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers of every stream: no cache keeps it, and nginx passes each event on at once."""
KEEP_ALIVE_SECONDS = 15.0
"""Seconds without an event after which a comment is sent: proxies close quiet connections."""
KEEP_ALIVE = b": keep-alive\n\n"


def sse(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    """One event: its name, its data as one line of JSON, and its id if it has one."""
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


async def with_pauses(
    events: AsyncIterator[T], seconds: float = KEEP_ALIVE_SECONDS
) -> AsyncGenerator[T | None, None]:
    """The events of `events`, and None whenever none came for `seconds`.

    Close this iterator before `events`: it may be waiting for the next one.
    """
    following: asyncio.Future[T] | None = None
    try:
        while True:
            if following is None:
                following = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=seconds)
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
