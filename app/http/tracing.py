"""OpenTelemetry spans inside a request: queue, compute, encode.

FastAPI makes the request's own span, and sets the exporter up from the standard OTEL_* variables
when the extra `otel` is installed; without either, everything here does nothing.
"""

import time

from opentelemetry import trace

from app.http.request_log import Record
from app.wire.messages import Done

tracer = trace.get_tracer("ddpm")


def describe(record: Record) -> None:
    """Say on the request's span, which must be the current one, what came of it."""
    attributes: dict[str, str | int] = {"ddpm.request_id": record.request_id}
    if (submit := record.submit) is not None:
        attributes["ddpm.n"] = len(submit.indices)
        attributes["ddpm.steps"] = submit.steps
        attributes["ddpm.sampler"] = submit.sampler
    if record.dropped is not None:
        attributes["ddpm.dropped"] = record.dropped
    trace.get_current_span().set_attributes(attributes)


def record_engine(done: Done) -> None:
    """The spans `queue` and `compute` of a job that has just ended: the engine, which takes the
    times, is a process without tracing."""
    ended = time.time_ns()
    began = ended - round(done.run_seconds * 1e9)
    submitted = began - round(done.queue_seconds * 1e9)
    tracer.start_span("queue", start_time=submitted).end(began)
    tracer.start_span("compute", start_time=began).end(ended)
