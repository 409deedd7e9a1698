"""Which pages of other sites may use the server from a browser (the Fetch standard's CORS)."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.http.problems import Problem, shorten

METHODS = ("GET", "HEAD", "POST", "DELETE")
REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "Traceparent",
    "Tracestate",
    "X-Request-ID",
    "X-Webhook-URL",
)
"""What a page may send, besides what every page may."""
ANSWER_HEADERS = (
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
    "X-Cache",
    "X-Request-ID",
    "X-Seed",
)
"""What a page may read, besides what every page may."""


class Cors(CORSMiddleware):
    """ASGI middleware that lets pages from `origins` read answers; `*` stands for every origin.

    Cookies and a browser's own credentials are not allowed: this server has none. A page sends its
    API key itself, as Authorization.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks what a page may do: 200, or a problem 400."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        origin = shorten(request_headers["origin"])
        detail = f"{bytes(answer.body).decode()}: a page from {origin} may not ask for this"
        return Problem(400, detail, headers={"Vary": answer.headers["vary"]}).response()
