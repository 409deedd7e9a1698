"""Which representation a client accepts (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import Headers

from app.http.problems import Problem, shorten

QUALITY = re.compile(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", re.ASCII)
"""A quality as clients write it: also Java's `.2`, which the RFC forbids; never nan, inf or 1e9."""


class Range(NamedTuple):
    """One element of an Accept header: `kind/subkind;q=q`, either of them may be `*`."""

    kind: str
    subkind: str
    q: float

    def match(self, media_type: str) -> int:
        """How precisely the range names the type: 2 in full, 1 as `image/*`, 0 as `*/*`, -1 not."""
        kind, subkind = media_type.split("/")
        if (self.kind, self.subkind) == (kind, subkind):
            return 2
        if (self.kind, self.subkind) == (kind, "*"):
            return 1
        return 0 if (self.kind, self.subkind) == ("*", "*") else -1


def accept_header(headers: Headers) -> str:
    """The value of the Accept header; several headers are one list (RFC 9110, section 5.2)."""
    return ", ".join(headers.getlist("accept"))


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The media type of `offered` that the client prefers; the first one of equal preference.

    An `accept` of None or "" accepts everything. Raises Problem 406, which names what is offered.
    """
    ranges = _parse(accept or "*/*")
    # Of equals max() takes the first, so the order of `offered` is the server's preference.
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise Problem(406, f"Accept: {shorten(accept)} allows none of {', '.join(offered)}")
    return best


def _quality(media_type: str, ranges: Sequence[Range]) -> float:
    """The quality of the range that names the type most precisely; 0 if none does."""
    matching = [r for r in ranges if r.match(media_type) >= 0]
    return max(matching, key=lambda r: r.match(media_type)).q if matching else 0.0


def _parse(accept: str) -> list[Range]:
    """The well-formed elements of the header; others are ignored."""
    ranges = []
    for element in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in element.split(";"))
        kind, slash, subkind = media_type.partition("/")
        q = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                q = _number(value.strip())
        if slash and kind and subkind:
            ranges.append(Range(kind, subkind, q))
    return ranges


def _number(text: str) -> float:
    return min(float(text), 1.0) if QUALITY.fullmatch(text) else 0.0
