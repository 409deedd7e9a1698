"""An answer that is sent block by block, and gives back what it holds at its end."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.request_log import RequestRecord

log = logging.getLogger("ddpm.server")


class BrokenOff(Exception):
    """The rest of an answer that has begun cannot be sent; the message says why."""


class BlockResponse(StreamingResponse):
    """An answer from `blocks`; `release` is called once nothing more of it is in memory here.

    When `blocks` raises BrokenOff, the connection is closed without an end of the answer, so that
    no client takes it for whole.
    """

    def __init__(
        self,
        blocks: AsyncGenerator[bytes, None],
        status: int,
        headers: Mapping[str, str],
        media_type: str,
        release: Callable[[], object],
    ) -> None:
        super().__init__(blocks, status, headers, media_type)
        self._blocks = blocks
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = RequestRecord.of(scope)
        try:
            await super().__call__(scope, receive, send)
        except BrokenOff as error:
            log.error("an answer is cut off, request %s: %s", record.request_id, error)
            record.drop("cut_off")
        finally:
            await self._blocks.aclose()
            self._release()
