"""The errors with which a source or a checkpoint is refused."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason.

    `remedy`, the end of the message where there is one, is what would make it servable.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason if remedy is None else f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class Unreachable(Exception):
    """The Hub could not be asked or did not answer in full; what is cached may do instead."""
