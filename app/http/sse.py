"""Server-sent events: how an event looks on the wire, and what keeps a quiet stream alive."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

T = TypeVar("T")
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""An answer's headers that keep caches and proxies from holding events back."""
QUIET_SECONDS = 15.0
"""After so long without an event a comment is sent: proxies close connections that are silent."""


def event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    """One event with its data as JSON. A client that reconnects names the last id it has seen."""
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def comment() -> bytes:
    """A comment, which clients skip."""
    return b": keep-alive\n\n"


async def with_pauses(events: AsyncIterator[T]) -> AsyncGenerator[T | None, None]:
    """The events, and None whenever none came for QUIET_SECONDS."""
    following: asyncio.Future[T] | None = None
    try:
        while True:
            if following is None:
                following = asyncio.ensure_future(anext(events))
            # Not wait_for, which would cancel the wait for the event and lose it.
            done, _ = await asyncio.wait({following}, timeout=QUIET_SECONDS)
            if not done:
                yield None
                continue
            try:
                found = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield found
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
