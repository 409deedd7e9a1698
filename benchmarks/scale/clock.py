"""Simulated time: what is to happen, in order."""

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Calls what was planned, each at its time. What is planned for the same moment happens in the
    order in which it was planned."""

    def __init__(self) -> None:
        self.now = 0.0  # seconds
        self._numbers = itertools.count()
        self._planned: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Plan a call."""
        heapq.heappush(self._planned, (self.now + seconds, next(self._numbers), call))

    def run(self, until: float) -> None:
        """Let time pass until this moment."""
        while self._planned and self._planned[0][0] <= until:
            self.now, _, call = heapq.heappop(self._planned)
            call()
        self.now = until
