"""Answers to Range requests (RFC 9110, section 14): an interrupted download can be resumed."""

import re
from collections.abc import Callable, Iterator, Mapping

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.http.problems import Problem
from app.http.request_log import RequestRecord

ONE_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE)


def respond(
    request: Request,
    size: int,
    blocks: Callable[[int, int], Iterator[bytes]],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """An answer with all `size` bytes (200), or with the range that the request asks for (206).

    `blocks(start, stop)` reads the bytes; it is called off the event loop. `headers` must have the
    ETag that If-Range is compared with. A request for several ranges gets all bytes, as the RFC
    allows. Raises Problem 416 for a range outside the bytes.
    """
    asked = request.headers.get("range")
    condition = request.headers.get("if-range")
    wanted = None
    # A range of another result would be joined to what the client has: then all bytes.
    if asked is not None and condition in (None, headers["ETag"]):
        wanted = parse(asked, size)
    start, stop = wanted or (0, size)
    length = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if wanted:
        length["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    content = iter(()) if RequestRecord.of(request.scope).is_head else blocks(start, stop)
    return StreamingResponse(
        content, 206 if wanted else 200, headers={**headers, **length}, media_type=media_type
    )


def parse(header: str, size: int) -> tuple[int, int] | None:
    """The bytes `start` up to `stop` that a Range header asks for, of `size`.

    None when the header must be ignored: another unit, several ranges, or not well formed. Raises
    Problem 416 when no byte lies in the range.
    """
    match = ONE_RANGE.fullmatch(header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:  # a suffix: the last `last` bytes
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        reason = f"Range: {header!r} is outside the {size} bytes of this result"
        raise Problem(416, reason, headers={"Content-Range": f"bytes */{size}"})
    return start, stop
