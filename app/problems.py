"""Errors as RFC 9457 problems: one vocabulary, one table to HTTP."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.engine.supervisor import NotReady, Overloaded
from app.jobs.database import StorageFull, StorageUnavailable
from app.jobs.store import (
    JobExpired,
    JobUnfinished,
    KeyOutdated,
    KeyReused,
    TooManyJobs,
    UnknownJob,
)

MEDIA_TYPE = "application/problem+json"
TITLES = {
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    409: "Not possible now",
    410: "Gone",
    413: "Request body too large",
    415: "Unsupported media type",
    416: "No such range",
    422: "Invalid request",
    500: "Internal error",
    503: "Not available",
    507: "Job storage is full",
}
RESTART_SECONDS = 5
"""What Retry-After says while an engine starts."""
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
    StorageFull: 507,
}


class Problem(Exception):
    """An answer other than success. `errors`: one entry for each wrong field."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """The problem object."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        return {**body, "errors": self.errors} if self.errors else body

    def response(self) -> Response:
        """The HTTP answer."""
        return JSONResponse(self.body(), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def invalid_field(name: str, value: object, reason: str) -> Problem:
    """422 for one field, naming it, its value and what is allowed."""
    detail = f"{name}: {shorten(value)} is not allowed: {reason}"
    error = {"field": name, "value": value, "message": reason}
    return Problem(422, detail, errors=[error])


def shorten(value: object) -> str:
    """A value as JSON, cut to a readable length."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def from_validation(error: RequestValidationError) -> Problem:
    """422 for what pydantic found, all fields at once."""
    errors = []
    for found in error.errors():
        # ("body", field, union branch, position): the branch says nothing to a client
        _, *place = found["loc"]
        name = ".".join(str(p) for p in place[:1] + [p for p in place[1:] if isinstance(p, int)])
        if found["type"] == "json_invalid":
            name, value, reason = "body", None, f"not JSON: {found['ctx']['error']}"
        elif found["type"] == "extra_forbidden":
            value, reason = found["input"], "unknown field"
        else:
            value, reason = found["input"], found["msg"]
        errors.append({"field": name or "body", "value": json_safe(value), "message": reason})
    detail = "; ".join(f"{e['field']}: {e['message']}, not {shorten(e['value'])}" for e in errors)
    return Problem(422, detail, errors=errors)


def json_safe(value: object) -> object:
    """The value if JSON can carry it, else its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value


def from_engine(error: NotReady | Overloaded) -> Problem:
    """503 with the time after which to try again."""
    seconds = error.retry_after if isinstance(error, Overloaded) else RESTART_SECONDS
    return Problem(503, str(error), headers={"Retry-After": str(seconds)})


def from_jobs(error: Exception) -> Problem:
    """What stands in the way of a job."""
    status = JOBS[type(error)]
    headers = {"Retry-After": str(JOBS_RETRY_SECONDS)} if status == 503 else None
    return Problem(status, str(error), headers=headers)


def install(app: FastAPI) -> None:
    """Make the errors of the app problems; `app.guard` answers for those nobody expects."""

    @app.exception_handler(Problem)
    async def _(request: Request, error: Problem) -> Response:  # noqa: ARG001
        return error.response()

    @app.exception_handler(NotReady)
    @app.exception_handler(Overloaded)
    async def _(request: Request, error: NotReady | Overloaded) -> Response:  # noqa: ARG001
        return from_engine(error).response()

    async def answer_jobs(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return from_jobs(error).response()

    for kind in JOBS:
        app.add_exception_handler(kind, answer_jobs)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:  # noqa: ARG001
        return from_validation(error).response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return Problem(error.status_code, detail, headers=error.headers).response()
