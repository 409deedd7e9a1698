"""What holds for every request: an id, a size limit, a media type, and an answer whatever fails."""

import logging
import re
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Guard:
    """ASGI middleware: X-Request-ID on every answer, 413 over the limit, 415 for other than JSON,
    500 for what nobody else has caught.

    The client's X-Request-ID is kept when it is 1..128 letters, digits and ._:- characters.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int) -> None:
        self.app = app
        self.max_request_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        answer = _Answer(send, request_id)
        try:
            self._check_headers(headers)
            await self.app(scope, _Counted(receive, self.max_request_bytes), answer)
        except Exception as error:
            if answer.started:
                raise
            if not isinstance(error, Problem):
                path = f"{scope['method']} {scope['path']}"
                log.error("%s, request %s", path, request_id, exc_info=error)
                error = Problem(500, "an error of the server's own; it has been logged")
            await error.response()(scope, receive, answer)

    def _check_headers(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.max_request_bytes:
            raise Problem(413, too_large(self.max_request_bytes))
        has_body = length != "0" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and media_type != "application/json":
            raise Problem(415, f"Content-Type: {media_type!r}; it must be application/json")


def too_large(limit: int) -> str:
    """What 413 says."""
    return f"the body is larger than this server's {limit} bytes"


class _Counted:
    """A receive channel that ends with 413 when the body grows over the limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0

    async def __call__(self) -> Message:
        message: MutableMapping[str, Any] = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            # The framework, which is reading the body here, lets only its own exception through.
            raise HTTPException(413, too_large(self._limit))
        return message


class _Answer:
    """A send channel that adds X-Request-ID and remembers whether the answer has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message)["X-Request-ID"] = self._request_id
        await self._send(message)
