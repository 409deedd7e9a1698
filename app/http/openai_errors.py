"""Errors of the paths below /v1/ in the form of OpenAI's API, whose clients know no problems."""

import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import MEDIA_TYPE

PREFIX = "/v1/"
CODES = {
    401: "invalid_api_key",
    404: "not_found",
    429: "rate_limit_exceeded",
}
"""The code of each status, where no field tells another."""


class OpenAiErrors:
    """ASGI middleware that turns problems into `{"error": {"message", "type", "param", "code"}}`;
    a problem 422 is a 400 there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _path(scope).startswith(PREFIX):
            await self.app(scope, receive, _Translated(send))
        else:
            await self.app(scope, receive, send)


class _Translated:
    """An ASGI send channel that holds a problem back until all of it is there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None  # of a problem
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_error(self._start)
            return
        await self._send(message)

    async def _send_error(self, start: Message) -> None:
        problem = json.loads(self._body)
        body = json.dumps({"error": error_of(problem)}, ensure_ascii=False).encode()
        status = 400 if problem["status"] == 422 else problem["status"]
        start = {**start, "status": status, "headers": list(start["headers"])}
        headers = MutableHeaders(scope=start)
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def error_of(problem: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's error object for a problem."""
    status, fields = problem["status"], problem.get("errors", [])
    param = fields[0]["field"] if fields else None
    code = "model_not_found" if (status, param) == (404, "model") else CODES.get(status)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    return {"message": problem["detail"], "type": kind, "param": param, "code": code}


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
