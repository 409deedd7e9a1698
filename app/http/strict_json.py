"""A strict reader of JSON bodies: it refuses what two readers could understand differently."""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.http.problems import shorten

MAX_DEPTH = 16
"""Levels of lists and objects inside each other; no request needs more than three."""
MAX_PARTS = 64
"""Lists and objects in one body, and names: no request needs more than 6 lists and objects, and 24
names. What has more is refused before it is read, which would take long."""
MAX_ITEMS = 1 << 18
"""Commas in one body: no request needs more than a few for each of 50,000 images."""
LONG = 16 << 10
"""Bytes of a body from which on reading it takes milliseconds."""
MAX_EXACT = 2**53
"""Up to here a float that has no fraction is one integer and no other."""


def loads(body: bytes) -> Any:
    """The value of a JSON text in UTF-8 (RFC 8259). 1.0 and 1e0 are the integer 1, as JSON Schema
    has it: some languages write every number so.

    Raises json.JSONDecodeError, also for what Python's own reader accepts: another encoding, a
    name that appears twice in an object, NaN and Infinity, numbers out of range, nesting deeper
    than MAX_DEPTH, and more than MAX_PARTS lists and objects, or names, or MAX_ITEMS items.
    """
    # A text may have these characters too; no text of a request does.
    nests = body.count(b"[") + body.count(b"{")
    if nests > MAX_PARTS:
        raise _refused(f"nested too deeply, or more than {MAX_PARTS} lists and objects")
    if body.count(b":") > MAX_PARTS:
        raise _refused(f"more than {MAX_PARTS} names")
    if body.count(b",") > MAX_ITEMS:
        raise _refused(f"more than {MAX_ITEMS} items")
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_float=_number,
            parse_constant=_no_number,
        )
        if nests > MAX_DEPTH:  # else it cannot be deeper
            _check_depth(value)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise _refused(f"not UTF-8: {error.reason}", error.start) from error
    except RecursionError as error:
        raise _refused("nested too deeply") from error
    except ValueError as error:
        raise _refused(str(error)) from error
    return value


class StrictRequest(Request):
    """A request whose body is read by `loads`."""

    async def json(self) -> Any:
        body = await self.body()
        # Others are answered while a long one is read.
        return await asyncio.to_thread(loads, body) if len(body) > LONG else loads(body)


class StrictRoute(APIRoute):
    """A route that reads its body strictly: the route class of every router that takes a body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def _refused(reason: str, position: int = 0) -> json.JSONDecodeError:
    return json.JSONDecodeError(reason, "", position)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {shorten(name)} appears twice in an object")
        found[name] = value
    return found


def _number(text: str) -> float:
    number = float(text)  # 1e999 becomes infinity, without an error
    if math.isinf(number):
        raise ValueError(f"{text[:80]} is out of range")
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT else number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")


def _check_depth(value: Any) -> None:
    # Level by level, without recursion, which deep nesting would exhaust.
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _children(value: Any) -> list[Any]:
    """The lists and objects in a list or object."""
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, dict | list)]
