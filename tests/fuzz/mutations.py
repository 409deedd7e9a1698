"""Changes of a good input: of its bytes, and of the values in it."""

import math
import string
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = (
    0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1,
    2**63, 2**64, 10**9, 10**30, 10**400, -1, -2, -(2**31), -(2**63) - 1,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e-30, 1e30, 1e308, math.inf, -math.inf, math.nan)
TEXTS = (
    "", " ", "a", "..", "/", "../../etc/passwd", "\0", "\n", "\x1b[31m", "\ud800", "é", "𝔻", "-1",
    "null", "%s", "x" * 300, "1e999", "DDPMScheduler", "learned", "linear",
)  # fmt: skip
DEEP, LONG = "@deep@", "@long@"
"""Stand for lists in lists, deeper than a parser goes, and for a number of more digits than Python
converts: whoever writes a format puts these in its place."""
DEPTH, DIGITS = 100_000, 5000
DEPTH_CHANGED = 8
"""Changes are made at most so deep in a value."""
LARGEST_INPUT = 1 << 20
"""Bytes of an input, at most: an insertion that doubles it again and again would be slow."""


def changed_bytes(random: Random, raw: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Change bytes in one to eight places. `others` are inputs of which parts may be taken."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        random.choice(BYTE_CHANGES)(random, data)
    if others and random.random() < 0.05:
        other = random.choice(others)
        data[_place(random, data) :] = other[_place(random, other) :]
    return bytes(data[:LARGEST_INPUT])


def _place(random: Random, data: bytes | bytearray) -> int:
    """A place in the data; one in two is near the start, where headers are."""
    last = len(data) if random.random() < 0.5 else min(len(data), 64)
    return random.randint(0, last)


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[min(_place(random, data), len(data) - 1)] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray) -> None:
    place, size = _place(random, data), random.choice((1, 2, 4, 8))
    number = random.choice(NUMBERS) % (1 << (8 * size))
    data[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))


def _insert(random: Random, data: bytearray) -> None:
    place = _place(random, data)
    data[place:place] = random.randbytes(random.choice((1, 2, 4, 16, 200)))


def _delete(random: Random, data: bytearray) -> None:
    place = _place(random, data)
    del data[place : place + random.choice((1, 2, 4, 16, 200))]


def _repeat(random: Random, data: bytearray) -> None:
    start, place = _place(random, data), _place(random, data)
    data[place:place] = data[start : start + random.choice((1, 4, 64, 1000))]


def _truncate(random: Random, data: bytearray) -> None:
    del data[_place(random, data) :]


BYTE_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip, _flip, _overwrite, _overwrite, _insert, _delete, _repeat, _truncate,
)  # fmt: skip


def changed_value(random: Random, value: Any) -> Any:
    """Change a value of dictionaries, lists and plain values in one to three places."""
    whole = [deepcopy(value)]  # so that the outermost value can be replaced, too
    for _ in range(random.choice((1, 1, 2, 3))):
        place, key = random.choice(_places(whole))
        _change(random, place, key)
    return whole[0]


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list) and value[key] and depth < DEPTH_CHANGED:
            found += _places(value[key], depth + 1)
    return found


def _change(random: Random, place: Any, key: Any) -> None:
    """Replace, remove, repeat or rename what is at a key."""
    how = random.random()
    if how < 0.7:
        place[key] = odd_value(random, place[key])
    elif isinstance(place, dict):
        value = place.pop(key)
        if how > 0.85:
            place[odd_text(random) if how > 0.95 else random.choice(("a", "_a", str(key)))] = value
    elif how > 0.85:
        place[key:key] = [deepcopy(place[key])] * random.choice((1, 2, 50))
    elif len(place) > 1:
        del place[key]


def odd_value(random: Random, value: Any) -> Any:
    """A value that is unlike the one given, or near it."""
    kind = random.randrange(10)
    if kind < 3 and isinstance(value, int | float):
        return value + random.choice((-1, 1)) if kind else -value
    if kind < 6:
        return random.choice((random.choice(NUMBERS), random.choice(FLOATS)))
    if kind == 6:
        return odd_text(random)
    if kind == 7:
        return random.choice((None, True, False, [], {}, [value], {"a": value}, [[]], b"\0\xff"))
    if kind == 8:
        return [value] * random.choice((2, 3, 1000))
    return random.choice((DEEP, LONG, [[[[value]]]]))


def odd_text(random: Random) -> str:
    """A text that programs trip over, or any letters."""
    return random.choice((*TEXTS, "".join(random.choices(string.printable, k=8))))
