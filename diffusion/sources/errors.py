"""The errors with which a source or a checkpoint is refused."""

MAX_REASON = 1000
"""Characters of a reason: files of strangers have names and values of any length."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason.

    `remedy`, the end of the message where there is one, is what would make it servable.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        if len(reason) > MAX_REASON:
            reason = f"{reason[: MAX_REASON - 1]}…"
        super().__init__(reason if remedy is None else f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class Unreachable(Exception):
    """The Hub could not be asked or did not answer in full; what is cached may do instead."""
