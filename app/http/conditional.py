"""Conditional requests: a client that has an answer already names it by its ETag (RFC 9110,
section 13.1.2)."""

import re
from collections.abc import Iterable

ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def is_known(if_none_match: Iterable[str], etag: str) -> bool:
    """Do the values of a request's If-None-Match headers name this entity tag, or `*`, any?

    The comparison is weak, as the RFC has it: a proxy that compresses makes `"x"` into `W/"x"`.
    """
    values = ", ".join(if_none_match)
    return values.strip() == "*" or etag in ENTITY_TAG.findall(values)
