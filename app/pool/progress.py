"""What an engine does to load a model, for the log and for whoever asks."""

import logging
import time

from app.pool.version import name_of
from app.wire.messages import Starting

log = logging.getLogger("ddpm.engine")

TELL_SECONDS = 2.0
"""Time after which a step that goes on is logged again."""


class Progress:
    """How far the load of a model is: `now`; None while none is loaded."""

    def __init__(self) -> None:
        self.now: Starting | None = None
        self._told_at = 0.0

    def note(self, pid: int | None, starting: Starting) -> None:
        """Log what the engine does: each step once, a long one now and then."""
        now = time.monotonic()
        is_new = self.now is None or starting.step != self.now.step
        is_due = is_new or now - self._told_at > TELL_SECONDS
        self._told_at = now if is_due else self._told_at
        self.now = starting
        level = logging.INFO if is_due else logging.DEBUG
        log.log(level, "engine %s: %s: %s", pid, name_of(starting.model), starting)
