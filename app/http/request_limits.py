"""What holds for every request: it has an id, its body has limits of size and time and must be
JSON, and it gets an answer whatever fails."""

import asyncio
import logging
import re
import uuid
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.http.problems import Problem
from app.http.request_log import RequestRecord

log = logging.getLogger("ddpm.server")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestLimits:
    """ASGI middleware that refuses what no handler should see, and answers what none has caught.

    A body over the limits is answered with 413 or 408, one that is not JSON with 415, and an
    exception that nobody has caught with 500. HEAD is answered as GET is, without the body. Every
    answer has an X-Request-ID: the client's own if it is 1..128 letters, digits and ._:-
    characters, else a new one.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int, body_seconds: int) -> None:
        self.app = app
        self.max_request_bytes = max_request_bytes
        self.body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        RequestRecord.of(scope).request_id = request_id
        with bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, _Answer(send, request_id), headers)

    async def _answer(
        self, scope: Scope, receive: Receive, answer: "_Answer", headers: Headers
    ) -> None:
        # The server's own scope still says HEAD, by which it leaves the body out.
        RequestRecord.of(scope).is_head = scope["method"] == "HEAD"
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            self._check_headers(headers)
            await self.app(asked, _Body(receive, self.max_request_bytes, self.body_seconds), answer)
        except Exception as error:
            if answer.started:
                raise
            if not isinstance(error, Problem):
                path = f"{scope['method']} {quote(scope['path'])}"
                request_id = RequestRecord.of(scope).request_id
                log.error("%s failed, request %s", path, request_id, exc_info=error)
                error = Problem(500, "this is a bug in the server; it has been logged")
            RequestRecord.of(scope).drop(error.reason)
            await error.response()(scope, receive, answer)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]

    def _check_headers(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.max_request_bytes:
            raise Problem(413, too_large(self.max_request_bytes))
        has_body = length != "0" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body and media_type != "application/json":
            raise Problem(415, f"Content-Type: {media_type!r}; it must be application/json")


def too_large(limit: int) -> str:
    """The detail of a problem 413; `limit` is in bytes."""
    return f"the body is larger than this server allows: {limit} bytes"


class _Body:
    """An ASGI receive channel for a body of at most `limit` bytes within `seconds`.

    Raises HTTPException 413 or 408, not Problem: FastAPI, which reads the body from here, answers
    every other exception with 400.
    """

    def __init__(self, receive: Receive, limit: int, seconds: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._deadline: float | None = asyncio.get_running_loop().time() + seconds
        self._size = 0

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                message: MutableMapping[str, Any] = await self._receive()
        except TimeoutError:
            detail = f"the body did not arrive within {self._seconds} seconds"
            raise HTTPException(408, detail, {"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise HTTPException(413, too_large(self._limit))
        if not message.get("more_body", False):
            self._deadline = None  # the next message is the client's disconnection
        return message


class _Answer:
    """An ASGI send channel that adds X-Request-ID and knows whether the answer has started."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message)["X-Request-ID"] = self._request_id
        await self._send(message)
