"""A storage that is away, in the log: a line when that is found, and one when it is over."""

import logging

from app.jobs.errors import StorageError

log = logging.getLogger("ddpm.jobs")


class Outage:
    """What one part of the work on jobs cannot do as long as the storage fails, and whether it
    fails now. `what` says it in words that stand before the reason."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_on = False

    def note(self, error: StorageError) -> None:
        """The storage has failed: an error in the log the first time, then lines of DEBUG."""
        log.log(logging.DEBUG if self._is_on else logging.ERROR, "%s: %s", self._what, error)
        self._is_on = True

    def end(self) -> None:
        """The storage has done its work; a line in the log if it had failed before."""
        if self._is_on:
            log.warning("%s: that is over", self._what)
        self._is_on = False
