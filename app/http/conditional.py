"""Conditional requests: a client that has an answer already names it by its ETag (RFC 9110,
section 13.1.2), which it can do only where it was allowed to keep it (RFC 9111)."""

import re
from collections.abc import Iterable

ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def named(etag: str) -> dict[str, str]:
    """The headers of an answer that has this entity tag, and of the 304 instead of it.

    The client alone may keep the answer, and asks whether it is still right each time that it uses
    it: then its API key is checked again, and a deleted result is gone. Vary need not name
    Authorization, since nobody else is given what is kept (RFC 9110, section 12.5.5).
    """
    return {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}


def is_known(if_none_match: Iterable[str], etag: str) -> bool:
    """Do the values of a request's If-None-Match headers name this entity tag, or `*`, any?

    The comparison is weak, as the RFC has it: a proxy that compresses makes `"x"` into `W/"x"`.
    """
    values = ", ".join(if_none_match)
    return values.strip() == "*" or etag in ENTITY_TAG.findall(values)
