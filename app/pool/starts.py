"""When an engine's process is started again, and when that is of no use."""

from app.pool.loads import TRIES
from app.tasks import Fatal

RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Pauses before starting again, by the number of starts in a row that never got ready; the last
one repeats."""


class Starts:
    """How the starts of one engine's process went. As long as none of them has loaded a model, what
    ends one may end each that follows: then the server is not to go on."""

    def __init__(self) -> None:
        self.has_loaded = False  # a model, ever
        self._failures = 0  # starts in a row that never got ready

    @property
    def pause(self) -> float:
        """Seconds before the next one."""
        return RESTART_SECONDS[min(self._failures, len(RESTART_SECONDS) - 1)]

    def note(self, *, became_ready: bool) -> None:
        """Note that a process has ended, or could not be started."""
        self._failures = 0 if became_ready else self._failures + 1

    def check(self, reason: str) -> None:
        """Raise Fatal for what went wrong at the first start for this reason."""
        if not self.has_loaded:
            raise Fatal(reason)

    def check_words(self, reason: str, *, became_ready: bool) -> None:
        """Raise Fatal for a process whose words cannot be read, unless one could be before, and the
        next may be."""
        if not self.has_loaded or (not became_ready and self._is_last):
            raise Fatal(f"{reason}: was the software replaced while it ran? Restart the server")

    def check_death(self, *, was_killed: bool) -> None:
        """Raise Fatal, unless the first process was killed from outside: the kernel does that where
        memory is short, and there may be more of it soon."""
        if not was_killed:
            self.check("the engine died while it was starting")
        if self._is_last:
            self.check(
                f"the engine was killed {TRIES} times while it was starting: is there enough "
                "memory?"
            )

    @property
    def _is_last(self) -> bool:
        return self._failures + 1 >= TRIES
