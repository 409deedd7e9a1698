"""An answer that is sent block by block, and gives back what it holds at its end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.http.request_log import RequestRecord

log = logging.getLogger("ddpm.server")

LEAST_RATE = 64 << 10
"""Bytes of an answer that its client must take a second, on average."""


class BrokenOff(Exception):
    """The rest of an answer that has begun cannot be sent; the message says why."""


class BlockResponse(StreamingResponse):
    """An answer from `blocks`; `release` is called once nothing more of it is in memory here.

    The client may take `write_seconds`, and one more for each LEAST_RATE bytes, to read the answer:
    without an end it would hold memory for hours. The time in which blocks are made does not count.
    When that time is over, or `blocks` raises BrokenOff, the connection is closed without an end of
    the answer, so that no client takes it for whole.
    """

    def __init__(
        self,
        blocks: AsyncGenerator[bytes, None],
        status: int,
        headers: Mapping[str, str],
        media_type: str,
        write_seconds: float,
        release: Callable[[], object],
    ) -> None:
        super().__init__(blocks, status, headers, media_type)
        self._blocks = blocks
        self._seconds = write_seconds  # left for its reader
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = RequestRecord.of(scope)
        try:
            await super().__call__(scope, receive, lambda message: self._send(send, message))
        except BrokenOff as error:
            log.error("an answer is cut off, request %s: %s", record.request_id, error)
            record.drop("cut_off")
        finally:
            await self._blocks.aclose()
            self._release()

    async def _send(self, send: Send, message: Message) -> None:
        """Send a block as soon as the client has taken the one before. Raises BrokenOff."""
        clock = asyncio.get_running_loop().time
        self._seconds += len(message.get("body", b"")) / LEAST_RATE
        began = clock()
        try:
            async with asyncio.timeout(self._seconds):
                await send(message)
        except TimeoutError:
            raise BrokenOff("its client reads less than 64 KiB a second") from None
        self._seconds -= clock() - began
