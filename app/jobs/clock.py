"""The database's clock, which somebody may set."""

import logging
import time

log = logging.getLogger("ddpm.jobs")

JUMP_SECONDS = 60.0
"""A clock that gains or loses more between two looks has been set."""
TRUST_SECONDS = 3600.0
"""How long a clock is not trusted after it was set."""


class ClockWatch:
    """Compares the database's clock with the monotonic one, which nobody can set."""

    def __init__(self) -> None:
        self._ahead: float | None = None  # of the monotonic clock, in seconds, at the last look
        self._trusted_from = 0.0  # on the monotonic clock

    def trusts(self, at: float) -> bool:
        """Whether the database's clock, which shows `at` in Unix seconds, may say what has expired.

        Removal cannot be undone. So after a jump there is time to set the clock right.
        """
        now = time.monotonic()
        ahead, before = at - now, self._ahead
        self._ahead = ahead
        if before is not None and abs(ahead - before) > JUMP_SECONDS:
            self._trusted_from = now + TRUST_SECONDS
            log.warning(
                "the job database's clock was set by %+.0f seconds: nothing expires within the "
                "next %.0f seconds",
                ahead - before,
                TRUST_SECONDS,
            )
        return now >= self._trusted_from
