"""How long a client keeps trying, and how long it pauses between two tries."""

import math
import time

from app.client.effects import Part, Sleep
from app.client.errors import ClientError, ProblemError, TimedOut

FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 15.0
"""Pauses between tries where the server gives no Retry-After; each is twice the one before."""
MIN_SECONDS = 0.001
"""The shortest timeout of a call."""


class Patience:
    """Decides how long to keep trying: `seconds` since something new last came, and `whole` seconds
    in all, if given."""

    def __init__(self, seconds: float, whole: float | None = None) -> None:
        self.seconds = seconds
        self._end = math.inf if whole is None else time.monotonic() + whole
        self._furthest = 0
        self.reset()

    def reset(self) -> None:
        """Start again, because something new came."""
        self._until = time.monotonic() + self.seconds
        self._pause = FIRST_PAUSE_SECONDS

    def reached(self, position: int) -> None:
        """Start again if `position`, in bytes, is further than any before it."""
        # A download that always breaks at the same byte makes no progress and must end.
        if position > self._furthest:
            self._furthest = position
            self.reset()

    def left(self) -> float:
        """Return the seconds that are left. Never 0, which httpx would read as no limit."""
        return max(min(self._until, self._end) - time.monotonic(), MIN_SECONDS)

    def check(self) -> None:
        """Raise TimedOut when the whole time is over."""
        if time.monotonic() >= self._end:
            raise TimedOut("the job was not finished in the time given")

    def wait(self, failure: ClientError) -> Part[None]:
        """Sleep until the next try. Raises the failure when no time is left for one."""
        asked = failure.retry_after if isinstance(failure, ProblemError) else None
        seconds = self._pause if asked is None else asked
        if seconds > self.left():
            raise failure
        self._pause = min(2 * self._pause, LAST_PAUSE_SECONDS)
        yield Sleep(seconds)
