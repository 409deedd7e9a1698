"""One log line and one count for every request, whatever its outcome."""

import logging
from collections.abc import Collection
from dataclasses import asdict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import tracing
from app.http.metrics import Metrics
from app.http.request_log import RequestRecord

log = logging.getLogger("ddpm.access")


class AccessLog:
    """The outermost ASGI middleware: observes each request up to the end of its answer.

    It logs the request, counts it under its route's path, describes its span, and notes when the
    client disconnects before the end of the answer. The lines of `probes`, which are paths of
    routes that machines ask again and again, are of level DEBUG.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, probes: Collection[str] = ()) -> None:
        self.app = app
        self.metrics = metrics
        self.probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record, status, is_complete = RequestRecord.of(scope), "none", False

        async def observed_send(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = str(message["status"])
                tracing.describe(record)  # before the answer's end, which ends the span
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")

        async def observed_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not is_complete:
                record.drop("disconnected")
            return message

        try:
            await self.app(scope, observed_receive, observed_send)
        finally:
            # A path that is no route's is the client's: a label for each would have no end.
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.count(route, status, record)
            level = logging.DEBUG if route in self.probes else logging.INFO
            log.log(level, "answered", extra=_fields(scope, record, status))


def _fields(scope: Scope, record: RequestRecord, status: str) -> dict[str, object]:
    """The fields of the log line; a key's name, a job's fields and a drop's reason only where there
    is one."""
    host, _ = scope.get("client") or ("", 0)
    fields: dict[str, object] = {
        "request_id": record.request_id,
        "client": host,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": int(status) if status.isdecimal() else None,
        "seconds": round(record.seconds, 6),
    }
    if record.key_name is not None:
        fields["key"] = record.key_name
    if record.job is not None:
        job = asdict(record.job)
        fields = {**fields, "job": job.pop("id"), **job}
    return {**fields, "dropped": record.dropped} if record.dropped else fields
