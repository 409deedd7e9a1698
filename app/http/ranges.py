"""Answers in ranges (RFC 9110, section 14), so that downloads go on where they broke."""

import re
from collections.abc import Callable, Iterator, Mapping

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.http.problems import Problem
from app.http.request_log import Record

ONE_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE)


def respond(
    request: Request,
    size: int,
    blocks: Callable[[int, int], Iterator[bytes]],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """200 with all `size` bytes, or 206 with the range asked for; `blocks(start, stop)` reads them,
    off the event loop. `headers` has the ETag that If-Range is compared with.

    Raises Problem 416. Requests for several ranges at once get everything, as the RFC allows.
    """
    asked = request.headers.get("range")
    condition = request.headers.get("if-range")
    wanted = None
    if asked is not None and condition in (None, headers["ETag"]):
        wanted = parse(asked, size)
    start, stop = wanted or (0, size)
    length = {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if wanted:
        length["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    content = iter(()) if Record.of(request.scope).is_head else blocks(start, stop)
    return StreamingResponse(
        content, 206 if wanted else 200, headers={**headers, **length}, media_type=media_type
    )


def parse(header: str, size: int) -> tuple[int, int] | None:
    """(start, stop) of a Range header; None when it is to be ignored. Raises Problem 416."""
    match = ONE_RANGE.fullmatch(header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:  # the last so many bytes
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        reason = f"Range: {header!r} is outside of the {size} bytes there are"
        raise Problem(416, reason, headers={"Content-Range": f"bytes */{size}"})
    return start, stop
