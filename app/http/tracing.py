"""OpenTelemetry spans of a request: `queue`, `compute` and `encode`.

FastAPI makes the request's own span. It sets the exporter up from the standard OTEL_* variables
when the extra `otel` is installed; without either, every function here does nothing.
"""

import time

from opentelemetry import trace

from app.http.request_log import RequestRecord

tracer = trace.get_tracer("ddpm")


def describe(record: RequestRecord) -> None:
    """Set the record's facts as attributes of the current span, which must be the request's."""
    attributes: dict[str, str | int] = {"ddpm.request_id": record.request_id}
    if record.key_name is not None:
        attributes["ddpm.key"] = record.key_name
    if record.job is not None:
        attributes["ddpm.model"] = record.job.model
        attributes["ddpm.n"] = record.job.n
        attributes["ddpm.steps"] = record.job.steps
        attributes["ddpm.sampler"] = record.job.sampler
    if record.dropped is not None:
        attributes["ddpm.dropped"] = record.dropped
    trace.get_current_span().set_attributes(attributes)


def record_phases(queue_seconds: float, run_seconds: float, ended: int | None = None) -> None:
    """Add the spans `queue` and `compute` of work that `ended` at this time (nanoseconds since the
    epoch; None: just now), from their durations.

    The engine measures the durations: it is another process, without tracing.
    """
    ended = ended or time.time_ns()
    began = ended - round(run_seconds * 1e9)
    submitted = began - round(queue_seconds * 1e9)
    tracer.start_span("queue", start_time=submitted).end(began)
    tracer.start_span("compute", start_time=began).end(ended)
