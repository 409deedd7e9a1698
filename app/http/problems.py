"""How an error looks to a client: problem details (RFC 9457).

`app.routes.errors` says which exception becomes which problem.
"""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    408: "Request timeout",
    409: "Not possible now",
    410: "Gone",
    413: "Request body too large",
    415: "Unsupported media type",
    416: "No such range",
    421: "Not this server",
    422: "Invalid request",
    429: "Too many requests",
    431: "Request headers too large",
    500: "Internal error",
    503: "Not available",
    504: "Not done in time",
    507: "Job storage is full",
}
"""The title of each status. In small letters it is also the default reason in the metrics, so
dashboards depend on it."""
MAX_TEXT = 80
"""Characters of a client's own text that a message repeats."""


class Problem(Exception):
    """An error answer.

    `detail` tells the client what is wrong, where, and what to do. `errors` has one entry for each
    invalid field, as `invalid_field` makes them. `reason` is the label under which the metrics
    count the request: by default the title in small letters, joined by underscores.
    """

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
        """The members of the problem object (RFC 9457, section 3)."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return {**body, "errors": self.errors} if self.errors else body

    def response(self) -> Response:
        """The HTTP answer with this problem."""
        return problem_response(self.body(), self.headers)


def problem_response(body: Mapping[str, Any], headers: Mapping[str, str] | None) -> Response:
    """An HTTP answer whose body is the problem object `body`, with that object's status."""
    # Half a surrogate pair, which JSON can name and UTF-8 cannot carry, becomes a question mark.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(content, body["status"], headers=headers, media_type=MEDIA_TYPE)


def invalid_field(name: str, value: object, reason: str) -> Problem:
    """A problem 422 about one field: its name, its value, and what is allowed."""
    detail = f"{name}: {shorten(value)} is not allowed: {reason}"
    error = {"field": name, "value": repeated(value), "message": reason}
    return Problem(422, detail, errors=[error])


def shorten(value: object) -> str:
    """A value as JSON text of at most MAX_TEXT characters, for a message."""
    value = _beginning(value)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def repeated(value: object) -> object:
    """A value that an answer can repeat: itself if JSON can carry it in MAX_TEXT characters, else
    the beginning of its text."""
    try:
        is_short = len(json.dumps(_beginning(value), allow_nan=False)) <= MAX_TEXT
    except (TypeError, ValueError):
        is_short = False
    return value if is_short else shorten(value)


def _beginning(value: object) -> object:
    """The value, or as much of it as makes a text that is too long: a body has room for much."""
    match value:
        case str() | list():
            return value[: MAX_TEXT + 1]
        case dict():
            return dict(islice(value.items(), MAX_TEXT))
    return value
