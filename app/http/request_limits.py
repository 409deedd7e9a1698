"""What holds for every request: its body has limits of size and time and must be JSON, and it gets
an answer whatever fails."""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import Problem, shorten
from app.http.request_log import RequestRecord

log = logging.getLogger("ddpm.server")

CHARSETS = ("utf-8", "utf8", "us-ascii")
"""The encodings of text that are UTF-8, as JSON must be (RFC 8259)."""


LARGE_BYTES, MAX_LARGE_BYTES = 256 << 10, 64 << 20
"""Larger bodies than the first have pictures; all of them together, while their requests are
answered, take at most the second in memory."""
LARGE_SECONDS = 5
"""Retry-After while there is no room for another one."""
MAX_HEADERS = 200
MAX_HEADER_BYTES = 64 << 10
"""What all headers of a request may be. One that arrives piece by piece is refused by the server
below from that size on; one that arrives at once, here."""
CLOSE = {"Connection": "close"}


class RequestLimits:
    """ASGI middleware that refuses what no handler should see, and answers what none has caught.

    A body over the limits is answered with 413 or 408, one whose length is ambiguous with 400, one
    that is not JSON with 415, too many headers with 431, and an exception that nobody has caught
    with 500. HEAD is answered as GET is, without the body.
    """

    def __init__(self, app: ASGIApp, max_request_bytes: int, body_seconds: int) -> None:
        self.app = app
        self.max_request_bytes = max_request_bytes
        self.body_seconds = body_seconds
        self._large_bytes = 0  # of the large bodies that are here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        # The server's own scope still says HEAD, by which it leaves the body out.
        RequestRecord.of(scope).is_head = scope["method"] == "HEAD"
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        body = _Body(receive, self)
        try:
            headers = Headers(scope=scope)
            _check_framing(scope, headers)
            self._check_headers(headers)
            await self.app(asked, body, answer)
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
            self._large_bytes -= body.reserved
            if "route" in asked:
                scope["route"] = asked["route"]

    def reserve(self, size: int) -> None:
        """Take room for so many bytes of a large body. Raises HTTPException 503 where there is too
        little."""
        if self._large_bytes + size > MAX_LARGE_BYTES:
            detail = "too many large bodies at once"
            raise HTTPException(503, detail, {"Retry-After": str(LARGE_SECONDS)})
        self._large_bytes += size

    def _check_headers(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.max_request_bytes:
            raise Problem(413, too_large(self.max_request_bytes))
        if length != "0" or "transfer-encoding" in headers:
            _check_is_json(headers)


def _check_framing(scope: Scope, headers: Headers) -> None:
    """Raise Problem 431 for more headers than any client has, and 400 for a body whose end a proxy
    in front may see elsewhere (RFC 9112, section 6). The connection ends with the answer."""
    sizes = [len(name) + len(value) for name, value in headers.raw]
    if len(sizes) > MAX_HEADERS or sum(sizes) > MAX_HEADER_BYTES:
        detail = f"more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them"
        raise Problem(431, detail, headers=CLOSE)
    if "transfer-encoding" not in headers:
        return
    if "content-length" in headers:
        raise Problem(
            400, "a body has Content-Length or Transfer-Encoding, not both", headers=CLOSE
        )
    if scope.get("http_version") == "1.0":
        raise Problem(400, "HTTP/1.0 has no Transfer-Encoding", headers=CLOSE)


def _check_is_json(headers: Headers) -> None:
    """Raise Problem 415 where a body's headers say that it is not plain JSON."""
    media_type, *parameters = (
        part.strip().lower() for part in headers.get("content-type", "").split(";")
    )
    if media_type != "application/json":
        raise Problem(415, f"Content-Type: {shorten(media_type)}; it must be application/json")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in CHARSETS:
            raise Problem(415, f"Content-Type: {shorten(parameter)}; JSON must be in UTF-8")
    encoding = ", ".join(headers.getlist("content-encoding")).strip().lower()
    if encoding not in ("", "identity"):
        detail = f"Content-Encoding: {shorten(encoding)}; send the body as it is, not compressed"
        raise Problem(415, detail, headers={"Accept-Encoding": "identity"})


def too_large(limit: int) -> str:
    """The detail of a problem 413; `limit` is in bytes."""
    return f"the body is larger than this server allows: {limit} bytes"


class _Body:
    """An ASGI receive channel for a body within the limits.

    Raises HTTPException 413, 408 or 503, not Problem: FastAPI, which reads the body from here,
    answers every other exception with 400.
    """

    def __init__(self, receive: Receive, limits: RequestLimits) -> None:
        self._receive = receive
        self._limits = limits
        self._limit = limits.max_request_bytes
        self._seconds = limits.body_seconds
        self._deadline: float | None = asyncio.get_running_loop().time() + self._seconds
        self._size = 0
        self.reserved = 0  # bytes that a large body has room for

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
        if self._size > LARGE_BYTES:
            self._limits.reserve(self._size - self.reserved)
            self.reserved = self._size
        if not message.get("more_body", False):
            self._deadline = None  # the next message is the client's disconnection
        return message


class _Answer:
    """An ASGI send channel that knows whether the answer has started."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        self.started = True
        await self._send(message)
