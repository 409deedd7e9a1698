"""The error with which a checkpoint is refused."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""
