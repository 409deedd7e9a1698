"""Answers to Range requests (RFC 9110, section 14): an interrupted download can be resumed."""

import re
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import Problem, shorten

ONE_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)
MAX_DIGITS = 19
"""Digits of a position that is read as a number; a longer one is behind the end of every file."""


class Part(NamedTuple):
    """What is sent of some bytes: those from `start` up to `stop`, and how the answer says so."""

    status: int
    headers: dict[str, str]
    start: int = 0
    stop: int = 0


WHOLE = Part(200, {})
"""All bytes, of a number that is not known before."""


class WithoutRanges:
    """ASGI application whose Range headers are ignored, which a server may do for any file: small
    files are sent whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope.get("headers", []) if name != b"range"]
        await self.app({**scope, "headers": headers}, receive, send)


def choose(headers: Headers, size: int, etag: str) -> Part:
    """All `size` bytes (200), or the range that a request's headers ask for (206).

    `etag` is what If-Range is compared with. A request for several ranges gets all bytes, as the
    RFC allows. Raises Problem 416 for a range outside the bytes.
    """
    asked, condition = headers.get("range"), headers.get("if-range")
    wanted = None
    # A range of another result would be joined to what the client has: then all bytes.
    if asked is not None and condition in (None, etag):
        wanted = parse(asked, size)
    start, stop = wanted or (0, size)
    length = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if wanted is None:
        return Part(200, length, start, stop)
    return Part(206, {**length, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, start, stop)


def parse(header: str, size: int) -> tuple[int, int] | None:
    """The bytes `start` up to `stop` that a Range header asks for, of `size`.

    None when the header must be ignored: another unit, several ranges, or not well formed. Raises
    Problem 416 when no byte lies in the range. A position of any length is a number (RFC 9110,
    section 14.1.1): one behind the end means the end.
    """
    match = ONE_RANGE.fullmatch(header)
    if match is None or not any(match.groups()):
        return None
    first, last = map(_position, match.groups())
    if first is None:  # a suffix: the last `last` bytes
        start, stop = max(size - (last or 0), 0), size
    else:
        start, stop = first, size if last is None else min(last + 1, size)
        if last is not None and last < start:
            return None
    if start >= stop:
        reason = f"Range: {shorten(header)} is outside the {size} bytes of this result"
        raise Problem(416, reason, headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _position(digits: str) -> int | None:
    """A position, or one behind the end of every file; None if there is none."""
    significant = digits.lstrip("0")
    if len(significant) > MAX_DIGITS:  # Python converts no text of 5000 digits
        return int(10**MAX_DIGITS)
    return int(digits[-MAX_DIGITS:]) if digits else None
