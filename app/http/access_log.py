"""One log line and one count for every request, whatever came of it."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import tracing
from app.http.metrics import Metrics
from app.http.request_log import Record

log = logging.getLogger(__name__)


class Observer:
    """ASGI middleware around everything: times each answer to its end, counts it under its route's
    path, logs it, describes its span, and notes when the client left before its end."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record, status, is_complete = Record.of(scope), "none", False

        async def noting(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = str(message["status"])
                tracing.describe(record)  # the span ends with the answer
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")

        async def listening() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not is_complete:
                record.drop("disconnected")
            return message

        try:
            await self.app(scope, listening, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # not the client's: there are few
            self.metrics.count(route, status, record)
            log.info("answered", extra=_fields(scope, record, status))


def _fields(scope: Scope, record: Record, status: str) -> dict[str, object]:
    """What the log line says; a job's fields and the reason of a drop only where there are any."""
    host, _ = scope.get("client") or ("", 0)
    fields: dict[str, object] = {
        "request_id": record.request_id,
        "client": host,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": int(status) if status.isdecimal() else None,
        "seconds": round(record.seconds, 6),
    }
    if (submit := record.submit) is not None:
        job = {"n": len(submit.indices), "steps": submit.steps, "sampler": submit.sampler}
        fields = {**fields, "job": submit.id, **job}
    return {**fields, "dropped": record.dropped} if record.dropped else fields
