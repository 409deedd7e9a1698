"""Why a job is refused, cannot be found or has no result. The messages are for the client."""

import json

MAX_TEXT = 80
"""Characters of the client's own text that a message repeats."""


class StorageError(Exception):
    """The job database or the result store did not do what was asked of it."""


class StorageUnavailable(StorageError):
    """The job database or the result store cannot be used."""


class StorageDamaged(StorageUnavailable):
    """The file of the job database is damaged; the message says what to do."""


class StorageFull(StorageError):
    """There is no room for the results, on the disk or in the budget."""


class TooManyJobs(Exception):
    """The server has as many unfinished jobs as it keeps."""


class TooManyOwnJobs(Exception):
    """The client has as many unfinished jobs as the server keeps for one client."""


class TooManyKeys(Exception):
    """The server has as many Idempotency-Keys of synchronous requests as it keeps.

    `retry_after`: seconds until one of them may make room for another.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyOwnKeys(TooManyKeys):
    """The client has as many of them as the server keeps for one client."""


class JobTooLarge(ValueError):
    """The job's results may take more bytes than the server keeps for one client."""


class SampleLost(Exception):
    """A sample's file is missing, or not what was written. `number` counts from 0 in the job."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"sample {number}: {reason}")
        self.number = number


class ResultLost(Exception):
    """Some of a job's samples are lost, and are made again."""


class UnknownJob(Exception):
    """There is no job with this id, or it has been deleted."""


class JobUnfinished(Exception):
    """The job has no result: it is not finished yet, or it failed."""


class JobExpired(Exception):
    """The job's result was kept until it expired."""


class LostLease(Exception):
    """The job has been deleted, or another process has taken it over."""


class KeyReused(Exception):
    """An Idempotency-Key came with another request before."""


class KeyOutdated(Exception):
    """The answer to an Idempotency-Key cannot be repeated: another model is served now."""


class BadHeader(ValueError):
    """The value of a request's header is not allowed; `reason` says what is wrong with it."""

    header: str

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{self.header}: {_quoted(value)} is not allowed: {reason}")


class BadKey(BadHeader):
    """The text cannot be an Idempotency-Key."""

    header = "Idempotency-Key"


class BadWebhook(BadHeader):
    """The URL cannot be a webhook's."""

    header = "X-Webhook-URL"


class NoWebhooks(ValueError):
    """This server calls no webhooks."""


class BadAddress(Exception):
    """The host of a webhook cannot be looked up, or its address is private."""


def first_line(error: Exception) -> str:
    """What a message repeats of an error that may have as many lines as a row has fields."""
    return str(error).partition("\n")[0]


def _quoted(text: str) -> str:
    """The text as JSON, cut to MAX_TEXT characters."""
    quoted = json.dumps(text)
    return quoted if len(quoted) <= MAX_TEXT else quoted[: MAX_TEXT - 3] + "..."
