"""Which HTTP answer an exception becomes: the one table, and the one handler."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.generation.errors import (
    AnswersFull,
    AnswerTooLarge,
    ClientHoldsTooMuch,
    InvalidField,
    JobFailed,
    PicturesBusy,
    TooManyOwnPictures,
)
from app.http.problems import MAX_TEXT, Problem, invalid_field, repeated, shorten
from app.http.request_log import RequestRecord
from app.jobs.errors import (
    BadKey,
    BadWebhook,
    JobExpired,
    JobTooLarge,
    JobUnfinished,
    KeyOutdated,
    KeyReused,
    NoWebhooks,
    ResultLost,
    StorageFull,
    StorageUnavailable,
    TooManyJobs,
    TooManyKeys,
    TooManyOwnJobs,
    TooManyOwnKeys,
    UnknownJob,
)
from app.pool.errors import CannotLoad, ClientOverLimit, NotReady, Overloaded, TooLate, UnknownModel

RESTART_SECONDS = 5
"""Retry-After while an engine starts."""
JOBS_RETRY_SECONDS = 30
"""Retry-After while no job can be accepted."""
REPAIR_SECONDS = 5
"""Retry-After while lost samples of a job are made again."""


class Row(NamedTuple):
    """The answer to one kind of exception; its detail is the exception's message.

    `reason`: the label in the metrics; None: the one that belongs to the status. `retry_after`:
    seconds where the exception's own attribute `retry_after` does not tell them.
    """

    status: int
    reason: str | None = None
    retry_after: int | None = None


TABLE: dict[type[Exception], Row] = {
    # the pool
    NotReady: Row(503, "not_ready", RESTART_SECONDS),
    Overloaded: Row(503, "overloaded"),
    ClientOverLimit: Row(429, "client_over_limit"),
    TooLate: Row(504, "too_late"),
    UnknownModel: Row(404),
    CannotLoad: Row(422),
    # generation
    AnswerTooLarge: Row(422),
    AnswersFull: Row(503, "answers_full"),
    ClientHoldsTooMuch: Row(429, "client_over_limit"),
    JobFailed: Row(500),
    PicturesBusy: Row(503, "pictures_busy"),
    TooManyOwnPictures: Row(429, "client_over_limit"),
    # jobs
    UnknownJob: Row(404),
    JobUnfinished: Row(409),
    KeyOutdated: Row(409),
    JobExpired: Row(410),
    KeyReused: Row(422),
    BadKey: Row(422),
    BadWebhook: Row(422),
    NoWebhooks: Row(422),
    JobTooLarge: Row(422),
    ResultLost: Row(503, "result_lost", REPAIR_SECONDS),
    TooManyOwnJobs: Row(429, retry_after=JOBS_RETRY_SECONDS),
    TooManyJobs: Row(503, retry_after=JOBS_RETRY_SECONDS),
    TooManyOwnKeys: Row(429),
    TooManyKeys: Row(503),
    StorageUnavailable: Row(503, retry_after=JOBS_RETRY_SECONDS),
    StorageFull: Row(507),
}
"""Every exception that has an answer of its own; add a line to add one. A subclass without a row is
answered as its nearest base class is. InvalidField names a field, so `problem_of` answers it."""
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
"""The methods that a route may have."""
REASONS = {
    "extra_forbidden": "unknown field",
    "model_attributes_type": "it must be a JSON object",
}
"""What is said in place of pydantic's words, by the type of its error."""
MAX_ERRORS = 20
"""Invalid fields that one answer lists."""


def install(app: FastAPI) -> None:
    """Answer the app's exceptions with problems.

    Those without a row are bugs: `http.request_limits` answers them with 500.
    """
    ours = (*TABLE, InvalidField, Problem)
    for kind in (*ours, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


async def answer(request: Request, error: Exception) -> Response:
    """The handler of every exception for which `install` has registered it."""
    match error:
        case HTTPException():
            problem = _from_framework(request, error)
        case RequestValidationError():
            problem = from_validation(error)
        case _:
            problem = problem_of(error)
    RequestRecord.of(request.scope).drop(problem.reason)
    return problem.response()


def problem_of(error: Exception) -> Problem:
    """The problem that tells a client of one of our exceptions, by the table.

    Raises the exception itself when it has no row: it is a bug.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidField):
        return invalid_field(error.name, error.value, error.reason)
    # The nearest class with a row: a subclass may have an answer of its own.
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
    if row is None:
        raise error
    seconds = getattr(error, "retry_after", None) or row.retry_after
    headers = None if seconds is None else {"Retry-After": str(seconds)}
    return Problem(row.status, str(error), headers=headers, reason=row.reason)


def from_validation(error: RequestValidationError) -> Problem:
    """A problem 422 with all invalid fields that pydantic found, up to MAX_ERRORS."""
    errors: list[dict[str, Any]] = []
    details = []
    all_found = error.errors()
    for found in all_found[:MAX_ERRORS]:
        name = field_name(found["loc"])
        if found["type"] == "json_invalid":
            reason = f"not JSON: {found['ctx']['error']}"
            errors.append({"field": "body", "message": reason})
            details.append(f"body: {reason}")
            continue
        reason = REASONS.get(found["type"], found["msg"])
        field, value = name[:MAX_TEXT] or "body", repeated(found["input"])
        errors.append({"field": field, "value": value, "message": reason})
        details.append(f"{field}: {reason}, not {shorten(found['input'])}")
    if len(all_found) > MAX_ERRORS:
        details.append(f"and {len(all_found) - MAX_ERRORS} more")
    return Problem(422, "; ".join(details), errors=errors)


def field_name(place: Sequence[int | str]) -> str:
    """The name of the field that pydantic found at a place of the body: ("body", field, union
    branch, position), where the branch says nothing to a client. Fields of `start` are told with
    it, as `start.image[2]`."""
    _, *inside = place
    name = str(inside.pop(0)) if inside else ""
    if name == "start" and inside:
        name = f"start.{inside.pop(0)}"
    return name + "".join(f"[{part}]" for part in inside if isinstance(part, int))


def _from_framework(request: Request, error: HTTPException) -> Problem:
    """A problem for what the framework refuses: an unknown path, method or body encoding."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = _methods(request)
        headers["Allow"] = ", ".join(sorted(allowed)) or headers.get("Allow", "")
    detail = f"{request.method} {request.scope['path'][:MAX_TEXT]}: {error.detail}"
    return Problem(error.status_code, detail, headers=headers)


def _methods(request: Request) -> set[str]:
    """The methods of all routes of the request's path; the framework names the first route's."""
    allowed = {
        method
        for method in METHODS
        for route in request.app.routes
        if not isinstance(route, Mount)  # it says itself what its files allow
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return allowed | {"HEAD"} if "GET" in allowed else allowed  # request_limits answers HEAD
