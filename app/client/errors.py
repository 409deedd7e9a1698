"""What can go wrong, as exceptions: one class for each status that a caller may act on."""

import json
from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Anything that this client raises."""


class Unreachable(ClientError):
    """There is no connection to the server, or it broke and did not come back in time."""


class TimedOut(ClientError):
    """The answer was not there in time."""


class BrokenAnswer(ClientError):
    """The answer is not what the contract says: another program's, or damaged on its way."""


class ProblemError(ClientError):
    """The server said no (RFC 9457). `errors` has an entry for each wrong field: `field`, `value`
    and `message`; `request_id` is what the server's log knows the request by; `retry_after`, in
    seconds, is when trying again may help."""

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
    """401: no or a wrong API key."""


class NotFound(ProblemError):
    """404: no such job; it may have been cancelled."""


class NotAcceptable(ProblemError):
    """406: no such representation."""


class Conflict(ProblemError):
    """409: the job is not finished, or failed and has no result."""


class Gone(ProblemError):
    """410: the job has expired, and its result with it."""


class TooLarge(ProblemError):
    """413: the request's body is over the server's limit."""


class RangeNotSatisfiable(ProblemError):
    """416: there are no such bytes."""


class InvalidRequest(ProblemError):
    """422: a field is wrong, or the answer would be too large."""


class OverLimit(ProblemError):
    """429: this client is over its own limits."""


class ServerError(ProblemError):
    """500: a fault of the server's, or a job that failed."""


class Unavailable(ProblemError):
    """503: the server is full, draining or starting."""


class TooLate(ProblemError):
    """504: not done before the request's deadline."""


class StorageFull(ProblemError):
    """507: no room for the job's results."""


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
    """The error that an answer other than 2xx stands for, whoever sent it: a proxy's has no
    problem object."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"detail": content[:200].decode(errors="replace").strip()}
    seconds = headers.get("retry-after", "")
    return from_problem(
        {**body, "status": status},
        headers.get("x-request-id"),
        retry_after=float(seconds) if seconds.isdecimal() else None,
    )


def from_problem(
    body: Mapping[str, Any], request_id: str | None, retry_after: float | None = None
) -> ProblemError:
    """The error that a problem object stands for."""
    status = int(body.get("status", 500))
    return KINDS.get(status, ProblemError)(
        status,
        str(body.get("title", "Error")),
        str(body.get("detail", "")),
        errors=tuple(body.get("errors") or ()),
        request_id=request_id,
        retry_after=retry_after,
    )
