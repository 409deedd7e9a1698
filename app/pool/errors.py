"""Why the pool does not run a job, or not to its end. The messages are for the client."""

OTHER_MACHINE = (
    "no engine is of the kind of machine that began it: another processor, GPU, number of threads "
    "or version of the software may make other bytes"
)
"""Said where engines have a job's model, and none of them may make it."""


class Refused(Exception):
    """A job that the server does not run to its end, for reasons of its own.

    `retry_after`: whole seconds after which another try may succeed; None when nobody knows.
    """

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(Refused):
    """No engine is ready, or the server is shutting down."""


class Overloaded(Refused):
    """The queue has no room for the job."""


class ClientOverLimit(Refused):
    """The client's share of the queue has no room for the job."""


class TooLate(Refused):
    """The job was not done before its deadline."""


class UnknownModel(Exception):
    """The server has no model of this name."""

    def __init__(self, name: str, names: list[str]) -> None:
        self.name = name
        self.reason = f"this server has {', '.join(names)}"
        super().__init__(f"there is no model {name[:64]!r}: {self.reason}")


class CannotLoad(Exception):
    """No model can be loaded from a `checkpoint`, or as was asked for."""

    def __init__(self, reason: str, checkpoint: str = "") -> None:
        super().__init__(reason)
        self.checkpoint = checkpoint
