"""Notices that an engine hangs, by looking at it again and again."""

from app.pool.connection import Connection
from app.pool.loads import Loads

WATCH_SECONDS = 0.5
"""Time between two looks at the process."""
START_SECONDS = 900.0
"""Time after which an engine that still loads a model is started again."""


class Watchdog:
    """Counts for how long an engine has done nothing that can be seen. Only looks are counted, so
    time in which this process itself did not run is not: what stops the whole machine for a while
    stops both."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time between two looks."""
        self.still_seconds = 0.0
        self._seconds = seconds
        self._seen: object = None

    def look(self, state: object, *, may_rest: bool) -> None:
        """Look at what changes as the engine gets on, such as its pid and the oldest step that it
        runs. An engine that `may_rest` need not change it."""
        if may_rest or state != self._seen:
            self._seen, self.still_seconds = state, 0.0
        else:
            self.still_seconds += self._seconds

    def reset(self) -> None:
        """Forget how long it has done nothing: there is another, or none."""
        self.still_seconds = 0.0


class ProcessWatch:
    """The watchdogs of one engine: over its steps, and over the model that it loads."""

    def __init__(self, hang_seconds: float) -> None:
        """A step may take `hang_seconds` at most."""
        self._hang_seconds = hang_seconds
        self._steps, self._load = Watchdog(WATCH_SECONDS), Watchdog(WATCH_SECONDS)

    def sees_a_hang(self, process: Connection | None, loads: Loads, *, have_work: bool) -> bool:
        """Look at the process, if there is one: does it hang? One that does is to be killed."""
        if process is None or not process.is_running:
            self._reset()
            return False
        pid, current = process.pid, loads.current
        self._steps.look((pid, len(loads.loaded), process.oldest), may_rest=not have_work)
        self._load.look((pid, current), may_rest=current is None)
        steps, load = self._steps.still_seconds, self._load.still_seconds
        hangs = steps > self._hang_seconds or load > START_SECONDS
        if hangs:
            self._reset()
        return hangs

    def _reset(self) -> None:
        self._steps.reset()
        self._load.reset()
