"""Which representation a client accepts (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import Headers

from app.http.problems import Problem, shorten

QUALITY = re.compile(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", re.ASCII)
"""A number, more freely than the RFC's: browsers' and Java's `.2` too; never nan, inf or 1e9."""


class Range(NamedTuple):
    """One element of an Accept header."""

    kind: str
    subkind: str
    q: float

    def match(self, media_type: str) -> int:
        """How exactly it names the type: 2 exactly, 1 `image/*`, 0 `*/*`, -1 not at all."""
        kind, subkind = media_type.split("/")
        if (self.kind, self.subkind) == (kind, subkind):
            return 2
        if (self.kind, self.subkind) == (kind, "*"):
            return 1
        return 0 if (self.kind, self.subkind) == ("*", "*") else -1


def accept_header(headers: Headers) -> str:
    """The value of the Accept header; of several, what they say together (RFC 9110, 5.2)."""
    return ", ".join(headers.getlist("accept"))


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The offered type with the highest q, the first of equals; the first without a header.

    Raises Problem 406 naming what is offered.
    """
    ranges = _parse(accept or "*/*")
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise Problem(406, f"Accept: {shorten(accept)} names none of {', '.join(offered)}")
    return best


def _quality(media_type: str, ranges: Sequence[Range]) -> float:
    """The q of the range that names the type most exactly; 0 without one."""
    matching = [r for r in ranges if r.match(media_type) >= 0]
    return max(matching, key=lambda r: r.match(media_type)).q if matching else 0.0


def _parse(accept: str) -> list[Range]:
    """The well-formed elements of the header; others are as if not there."""
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
