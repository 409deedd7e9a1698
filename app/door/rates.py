"""How many requests a client may make in a minute: a token bucket for each."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000
"""Clients that are remembered; the one that asked longest ago is forgotten first."""
MINUTE = 60.0


@dataclass
class Bucket:
    """A client's tokens, each good for one request, as they were at the time `at` (seconds)."""

    tokens: float
    at: float


class Rates:
    """The buckets of all clients. A bucket holds the requests of one minute, and is full at first.

    It takes bounded memory, however many clients come.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, client: str, rate: int) -> int | None:
        """Count a request of a client that may make `rate` of them a minute.

        None if it may be answered; else the seconds after which the next one may.
        """
        now = self._clock()
        bucket = self._buckets.pop(client, None) or Bucket(rate, now)
        bucket.tokens = min(rate, bucket.tokens + (now - bucket.at) * rate / MINUTE)
        bucket.at = now
        self._buckets[client] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return max(1, math.ceil((1 - bucket.tokens) * MINUTE / rate))
        bucket.tokens -= 1
        return None

    def __len__(self) -> int:
        return len(self._buckets)
