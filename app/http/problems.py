"""Errors as RFC 9457 problems: one vocabulary, one table to HTTP."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.http.request_log import Record
from app.jobs.database import StorageFull, StorageUnavailable
from app.jobs.store import (
    JobExpired,
    JobUnfinished,
    KeyOutdated,
    KeyReused,
    TooManyJobs,
    TooManyOwnJobs,
    UnknownJob,
)
from app.pool.inflight import ClientOverLimit, NotReady, Overloaded, Refused, TooLate

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "No valid API key",
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    408: "Request timeout",
    409: "Not possible now",
    410: "Gone",
    413: "Request body too large",
    415: "Unsupported media type",
    416: "No such range",
    422: "Invalid request",
    429: "Too much asked for by one client",
    500: "Internal error",
    503: "Not available",
    504: "Not done in time",
    507: "Job storage is full",
}
RESTART_SECONDS = 5
"""What Retry-After says while an engine starts."""
REFUSALS: dict[type[Refused], tuple[int, str]] = {
    NotReady: (503, "not_ready"),
    Overloaded: (503, "overloaded"),
    ClientOverLimit: (429, "client_over_limit"),
    TooLate: (504, "too_late"),
}
"""Status, and what it is counted under."""
JOBS_RETRY_SECONDS = 30
"""What Retry-After says while no job can be accepted."""
JOBS: dict[type[Exception], int] = {
    UnknownJob: 404,
    JobUnfinished: 409,
    KeyOutdated: 409,
    JobExpired: 410,
    KeyReused: 422,
    StorageUnavailable: 503,
    TooManyJobs: 503,
    TooManyOwnJobs: 429,
    StorageFull: 507,
}
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
"""Those that some route may have."""
MAX_ERRORS = 20
"""Wrong fields that one answer lists."""
MAX_TEXT = 80
"""Characters of the client's own that a message repeats."""


class Problem(Exception):
    """An answer other than success. `errors`: one entry for each wrong field; `reason`: what it is
    counted under, by default its title."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.title = TITLES.get(status, "Error")
        self.reason = reason or self.title.lower().replace(" ", "_")
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """The problem object."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return {**body, "errors": self.errors} if self.errors else body

    def response(self) -> Response:
        """The HTTP answer."""
        return problem_response(self.body(), self.headers)


def problem_response(body: Mapping[str, Any], headers: Mapping[str, str] | None) -> Response:
    """A problem object as an answer of its own status."""
    # Half a surrogate pair, which JSON can name and UTF-8 cannot carry, becomes a question mark.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(content, body["status"], headers=headers, media_type=MEDIA_TYPE)


def invalid_field(name: str, value: object, reason: str) -> Problem:
    """422 for one field, naming it, its value and what is allowed."""
    detail = f"{name}: {shorten(value)} is not allowed: {reason}"
    error = {"field": name, "value": repeated(value), "message": reason}
    return Problem(422, detail, errors=[error])


def shorten(value: object) -> str:
    """A value as JSON, cut to a readable length."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def repeated(value: object) -> object:
    """The value, if it is short and JSON can carry it; else its beginning as text."""
    try:
        is_short = len(json.dumps(value, allow_nan=False)) <= MAX_TEXT
    except (TypeError, ValueError):
        is_short = False
    return value if is_short else shorten(value)


def from_validation(error: RequestValidationError) -> Problem:
    """422 for what pydantic found, all fields at once, up to MAX_ERRORS."""
    errors: list[dict[str, Any]] = []
    all_found = error.errors()
    for found in all_found[:MAX_ERRORS]:
        # ("body", field, union branch, position): the branch says nothing to a client
        _, *place = found["loc"]
        name = ".".join(str(p) for p in place[:1] + [p for p in place[1:] if isinstance(p, int)])
        if found["type"] == "json_invalid":
            errors.append({"field": "body", "message": f"not JSON: {found['ctx']['error']}"})
            continue
        reason = "unknown field" if found["type"] == "extra_forbidden" else found["msg"]
        field, value = name[:MAX_TEXT] or "body", repeated(found["input"])
        errors.append({"field": field, "value": value, "message": reason})
    details = [_detail(error) for error in errors]
    if len(all_found) > MAX_ERRORS:
        details.append(f"and {len(all_found) - MAX_ERRORS} more")
    return Problem(422, "; ".join(details), errors=errors)


def _detail(error: Mapping[str, Any]) -> str:
    text = f"{error['field']}: {error['message']}"
    return f"{text}, not {shorten(error['value'])}" if "value" in error else text


def from_engine(error: Refused) -> Problem:
    """The problem, with the time after which to try again where that may help."""
    status, reason = REFUSALS[type(error)]
    seconds = error.retry_after
    if isinstance(error, NotReady):
        seconds = RESTART_SECONDS
    headers = None if seconds is None else {"Retry-After": str(seconds)}
    return Problem(status, str(error), headers=headers, reason=reason)


def from_jobs(error: Exception) -> Problem:
    """What stands in the way of a job."""
    status = JOBS[type(error)]
    headers = {"Retry-After": str(JOBS_RETRY_SECONDS)} if status in (429, 503) else None
    return Problem(status, str(error), headers=headers)


def _methods(request: Request) -> set[str]:
    """Those that the path has over all its routes: the framework names the first route's."""
    allowed = {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return allowed | {"HEAD"} if "GET" in allowed else allowed  # request_limits sees to HEAD


def install(app: FastAPI) -> None:
    """Make the errors of the app problems; `request_limits` answers for those nobody expects."""

    def answer(request: Request, problem: Problem) -> Response:
        Record.of(request.scope).drop(problem.reason)
        return problem.response()

    @app.exception_handler(Problem)
    async def _(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(Refused)
    async def _(request: Request, error: Refused) -> Response:
        return answer(request, from_engine(error))

    async def answer_jobs(request: Request, error: Exception) -> Response:
        return answer(request, from_jobs(error))

    for kind in JOBS:
        app.add_exception_handler(kind, answer_jobs)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return answer(request, from_validation(error))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_methods(request)))
        detail = f"{request.method} {request.scope['path'][:MAX_TEXT]}: {error.detail}"
        return answer(request, Problem(error.status_code, detail, headers=headers))
