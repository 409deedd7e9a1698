"""The client's exceptions: one class for each HTTP status that a caller may act on.

They can be pickled, so they cross the borders of worker processes.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

MAX_TEXT = 200
"""Characters of another program's answer that an error repeats."""


class ClientError(Exception):
    """Base class of every error that the client raises."""


class Unreachable(ClientError):
    """The server cannot be reached, or the connection broke and could not be restored in time. The
    message names its address, and what to try."""


class TimedOut(ClientError):
    """The answer did not arrive in time."""


class BrokenAnswer(ClientError):
    """The answer breaks the HTTP contract: another program's, or damaged on its way."""


class ProblemError(ClientError):
    """The server refused the request, with a problem (RFC 9457).

    `errors` has an entry for each wrong field, with `field`, `value` and `message`. `request_id`
    finds the request in the server's log. `retry_after` is the time in seconds after which another
    try may succeed, or None. `job_id` is the job's where the error is about one.
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
        job_id: str | None = None,
    ) -> None:
        super().__init__(status, title, detail)  # what it is made of again when it is unpickled
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after
        self.job_id = job_id

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


class Unauthorized(ProblemError):
    """401: the API key is missing or wrong."""


class Forbidden(ProblemError):
    """403: the API key does not allow this."""


class NotFound(ProblemError):
    """404: there is no such model, or no such job; it may have been cancelled. Or the address has a
    wrong path."""


class JobCancelled(NotFound):
    """404: somebody cancelled the job, named by `job_id`, while this client waited for it."""


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


class JobFailed(ServerError):
    """500: the job, named by `job_id`, cannot be finished; `detail` says why."""


class BadGateway(ProblemError):
    """502: a proxy in front of the server gets no answer from it."""


class Unavailable(ProblemError):
    """503: the server is full, shutting down or starting."""


class TooLate(ProblemError):
    """504: the request was not finished before its deadline."""


class StorageFull(ProblemError):
    """507: the server has no room for the job's results."""


KINDS: dict[int, type[ProblemError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    406: NotAcceptable,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    416: RangeNotSatisfiable,
    422: InvalidRequest,
    429: OverLimit,
    500: ServerError,
    502: BadGateway,
    503: Unavailable,
    504: TooLate,
    507: StorageFull,
}


def from_answer(
    status: int, headers: Mapping[str, str], content: bytes, address: str = "the server"
) -> ProblemError:
    """Build the error for an answer from `address` whose status is not 2xx.

    The answer may come from a proxy or another program and have no problem object: then the detail
    says so, with the text of the answer.
    """
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or "title" not in body:
        body = _foreign(status, headers, content, address)
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
        str(body.get("title", _phrase(status))),
        str(body.get("detail", "")),
        errors=tuple(body.get("errors") or ()),
        request_id=request_id,
        retry_after=retry_after,
    )


def _foreign(
    status: int, headers: Mapping[str, str], content: bytes, address: str
) -> dict[str, str]:
    """The fields of a problem for the answer of a program that is not the service."""
    text = " ".join(content.decode(errors="replace").split())
    if "html" in headers.get("content-type", "") or text[:1] == "<":
        heading = re.search(r"<title>(.*?)</title>|<h1>(.*?)</h1>", text, re.IGNORECASE)
        text = " ".join(filter(None, heading.groups())).strip() if heading else ""
        form = "a web page"
    else:
        form = "text" if text else "an empty answer"
    quoted = f" ({text[:MAX_TEXT]!r})" if text else ""
    return {
        "title": _phrase(status),
        "detail": f"{address} answered with {form}{quoted}, which this service does not send: it "
        "comes from a proxy in front of the server, or another program has this address",
    }


def _phrase(status: int) -> str:
    """The name of an HTTP status, such as "Bad Gateway"."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
