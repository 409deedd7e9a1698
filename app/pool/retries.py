"""Loads that failed and are tried again, each after a pause."""

import asyncio
from collections.abc import Callable

from app.pool.version import Version

AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""Pauses before a model is loaded again that was loaded before; the last one repeats."""


class Retries:
    """The versions that are to be loaded again."""

    def __init__(self) -> None:
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by key

    def __contains__(self, version: Version) -> bool:
        return version.key in self._timers

    def start(self, version: Version, load: Callable[[Version], None]) -> None:
        """Call `load` after a pause, which grows with the version's failures."""
        self.stop(version)
        pause = AGAIN_SECONDS[min(version.failures, len(AGAIN_SECONDS)) - 1]
        loop = asyncio.get_running_loop()
        self._timers[version.key] = loop.call_later(pause, self._end, version, load)

    def stop(self, version: Version) -> None:
        """Do not load a version again, if that was to come."""
        timer = self._timers.pop(version.key, None)
        if timer is not None:
            timer.cancel()

    def stop_all(self) -> None:
        """Load nothing again."""
        for timer in self._timers.values():
            timer.cancel()

    def _end(self, version: Version, load: Callable[[Version], None]) -> None:
        self._timers.pop(version.key, None)
        load(version)
