"""Clients that ask until they are answered, as a good client does."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx

from benchmarks.soak.requests import STREAM, parse_events
from benchmarks.soak.seen import Lost, Seen
from benchmarks.soak.supervisor import Supervisor

AGAIN = {429: 5.0, 503: 5.0, 507: 5.0}
"""Statuses after which the same is asked again, and the pause where there is no Retry-After."""
NOTICE_SECONDS = 1.0
"""What the supervisor may take to notice that its server has ended."""


class Asker:
    """`async with Asker(server, seen, key, max_pause) as asker:` is one client with a key."""

    def __init__(self, server: Supervisor, seen: Seen, key: str, max_pause: float) -> None:
        self.server = server
        self.seen = seen
        self._max_pause = max_pause
        # Without limits of its own: those who ask have them.
        self.http = httpx.AsyncClient(
            base_url=server.url, timeout=None, limits=httpx.Limits(max_connections=None),
            headers={"Authorization": f"Bearer {key}"},
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """The whole answer, whatever its status, unless that says to come back later, or a kill of
        ours cut the connection: then the same is asked again. Raises Lost."""
        while True:
            begun = time.monotonic()
            try:
                response = await self.http.request(method, path, headers=headers, json=body)
            except httpx.TransportError as error:
                await self.excuse(error, begun)
                continue
            status, pause = verdict(response, response.content)
            if status is None:  # a stream without its end
                await self.excuse(Lost("the stream ended without its end"), begun)
                continue
            if status not in AGAIN:
                return response
            self.seen.count(f"{status}, asked again")
            await asyncio.sleep(min(pause, self._max_pause))

    async def excuse(self, error: Exception, begun: float) -> None:
        """Return when the server is there again, if its end since `begun` explains the error: we
        have killed it, or that end is a problem of its own. Raises Lost."""
        if not self.server.was_out_since(begun):
            await asyncio.sleep(NOTICE_SECONDS)
        if not self.server.was_out_since(begun):
            raise error if isinstance(error, Lost) else Lost(repr(error)) from error
        self.seen.count("cut off, asked again")
        await self.server.up()


def verdict(response: httpx.Response, content: bytes) -> tuple[int | None, float]:
    """The status, and the seconds to wait if it says to come back. In a stream an `error` event has
    the status; None: the stream has no end."""
    status = response.status_code
    pause = float(response.headers.get("retry-after", AGAIN.get(status, 0.0)))
    if status != 200 or not response.headers["content-type"].startswith(STREAM):
        return status, pause
    name, data = (parse_events(content) or [("nothing", {})])[-1]
    if name == "error":
        return int(data["status"]), AGAIN.get(int(data["status"]), 0.0)
    return (200 if name == "done" else None), pause
