"""Notices that an engine hangs, by looking at it again and again."""


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
