"""OpenTelemetry spans inside a request: queue, compute, encode.

FastAPI makes the request's own span, and sets the exporter up from the standard OTEL_* variables
when the extra `otel` is installed; without either, everything here does nothing.
"""

import time

from opentelemetry import trace

from app.engine.messages import Done, Submit

tracer = trace.get_tracer("ddpm")


def describe(submit: Submit) -> None:
    """Say on the request's span what is asked for."""
    trace.get_current_span().set_attributes(
        {
            "ddpm.request_id": submit.request_id,
            "ddpm.n": len(submit.indices),
            "ddpm.steps": submit.steps,
            "ddpm.sampler": submit.sampler,
        }
    )


def record_engine(done: Done) -> None:
    """The spans `queue` and `compute` of a job that has just ended: the engine, which takes the
    times, is a process without tracing."""
    ended = time.time_ns()
    began = ended - round(done.run_seconds * 1e9)
    submitted = began - round(done.queue_seconds * 1e9)
    tracer.start_span("queue", start_time=submitted).end(began)
    tracer.start_span("compute", start_time=began).end(ended)
