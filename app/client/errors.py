"""The client's exceptions: one class for each HTTP status that a caller may act on."""

import json
from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base class of every error that the client raises."""


class Unreachable(ClientError):
    """The server cannot be reached, or the connection broke and could not be restored in time."""


class TimedOut(ClientError):
    """The answer did not arrive in time."""


class BrokenAnswer(ClientError):
    """The answer breaks the HTTP contract: another program's, or damaged on its way."""


class ProblemError(ClientError):
    """The server refused the request, with a problem (RFC 9457).

    `errors` has an entry for each wrong field, with `field`, `value` and `message`. `request_id`
    finds the request in the server's log. `retry_after` is the time in seconds after which another
    try may succeed, or None.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: tuple[dict[str, Any], ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after


class Unauthorized(ProblemError):
    """401: the API key is missing or wrong."""


class NotFound(ProblemError):
    """404: there is no such job; it may have been cancelled."""


class NotAcceptable(ProblemError):
    """406: the server does not offer this representation."""


class Conflict(ProblemError):
    """409: the job is not finished, or failed and has no result."""


class Gone(ProblemError):
    """410: the job has expired, and its result with it."""


class TooLarge(ProblemError):
    """413: the request's body is larger than the server allows."""


class RangeNotSatisfiable(ProblemError):
    """416: the range asked for is outside the result."""


class InvalidRequest(ProblemError):
    """422: a field is invalid, or the answer would be too large."""


class OverLimit(ProblemError):
    """429: this client has reached its own limits on the server."""


class ServerError(ProblemError):
    """500: the server has a fault, or the job failed."""


class Unavailable(ProblemError):
    """503: the server is full, shutting down or starting."""


class TooLate(ProblemError):
    """504: the request was not finished before its deadline."""


class StorageFull(ProblemError):
    """507: the server has no room for the job's results."""


KINDS: dict[int, type[ProblemError]] = {
    401: Unauthorized,
    404: NotFound,
    406: NotAcceptable,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    416: RangeNotSatisfiable,
    422: InvalidRequest,
    429: OverLimit,
    500: ServerError,
    503: Unavailable,
    504: TooLate,
    507: StorageFull,
}


def from_answer(status: int, headers: Mapping[str, str], content: bytes) -> ProblemError:
    """Build the error for an answer whose status is not 2xx.

    The answer may come from a proxy and have no problem object: then its text is the detail.
    """
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        # A proxy may send a whole page.
        body = {"detail": content[:200].decode(errors="replace").strip()}
    seconds = headers.get("retry-after", "")  # a date, its other form, counts as none
    return from_problem(
        {**body, "status": status},
        headers.get("x-request-id"),
        retry_after=float(seconds) if seconds.isdecimal() else None,
    )


def from_problem(
    body: Mapping[str, Any], request_id: str | None, retry_after: float | None = None
) -> ProblemError:
    """Build the error for a problem object; its status chooses the class."""
    status = int(body.get("status", 500))
    return KINDS.get(status, ProblemError)(
        status,
        str(body.get("title", "Error")),
        str(body.get("detail", "")),
        errors=tuple(body.get("errors") or ()),
        request_id=request_id,
        retry_after=retry_after,
    )
