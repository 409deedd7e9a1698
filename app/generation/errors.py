"""Why a request gets no images. The messages are for the client."""

from typing import Literal

Refusal = Literal[
    "not_base64", "too_large", "unknown_format", "wrong_size", "unusable", "out_of_memory",
    "too_slow", "crash",
]  # fmt: skip
"""Why a picture or a state that a client sent is refused, for who counts that; `unusable`: it is
damaged, or of no use for another reason."""


class InvalidField(ValueError):
    """A field whose value this model or this server does not allow.

    `name` is the field's name in the request's body, `value` what was given, and `reason` says what
    is allowed.
    """

    def __init__(self, name: str, value: object, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.value = value
        self.reason = reason


class AnswerTooLarge(ValueError):
    """The answer would take more bytes than the server's limit."""


class AnswersFull(Exception):
    """The answers in progress take all the memory that answers may.

    `retry_after`: whole seconds after which there may be room.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClientHoldsTooMuch(AnswersFull):
    """The client's other answers take all the memory that those of one client may."""


class JobFailed(Exception):
    """The engine could not compute the images; the message is its reason."""


class PicturesBusy(Exception):
    """Too many clients' pictures are being decoded.

    `retry_after`: whole seconds after which there may be room.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyOwnPictures(PicturesBusy):
    """The client's other pictures are being decoded."""
