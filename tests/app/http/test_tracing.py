"""Spans of a request; and traces as a collector receives them from a real server, which the
standard variables configure."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.app.raw_http import Answer, connect, request
from tests.app.server import Server
from tests.tiny import save_tiny

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is missing")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.http import tracing
from app.http.request_log import RequestRecord

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps every span that is sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Any] = []

    def of_trace(self, trace_id: str) -> list[Any]:
        return [span for span in list(self.spans) if span.trace_id.hex() == trace_id]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        threading.Thread(target=running.serve_forever).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def tiny(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tracing")
    flags = [f"--checkpoint={save_tiny(folder / 'tiny')}", "--runtime=eager"]
    with pytest.MonkeyPatch.context() as patch:
        address = f"http://127.0.0.1:{collector.server_port}"
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        server = Server(folder / "server.log", *flags)
    with server:
        yield server


def spans(collector: Collector, trace_id: str, *names: str) -> dict[str, Any]:
    """The trace's spans by name, when those named have all come."""
    for _ in range(100):
        found = {span.name: span for span in collector.of_trace(trace_id)}
        if found.keys() >= set(names):
            return found
        time.sleep(0.1)
    raise AssertionError(sorted(found))


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_the_phases_lie_side_by_side_and_end_now(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("test"))
    before = time.time_ns()
    tracing.record_phases(queue_seconds=0.25, run_seconds=2.0)
    queue, compute = kept.get_finished_spans()
    assert (queue.name, compute.name) == ("queue", "compute")
    assert queue.start_time and queue.end_time and compute.start_time and compute.end_time
    assert queue.end_time - queue.start_time == 250_000_000
    assert compute.end_time - compute.start_time == 2_000_000_000
    assert queue.end_time == compute.start_time
    assert before <= compute.end_time <= time.time_ns()


def test_a_span_says_what_the_request_asked_for_and_why_it_was_lost() -> None:
    tracer = TracerProvider().get_tracer("test")
    record = RequestRecord(request_id="mine", key_name="alice")
    record.describe_job(id="a", model="m", n=2, steps=50, sampler="ddim")
    record.drop("too_late")
    with tracer.start_as_current_span("request") as span:
        tracing.describe(record)
    assert dict(span.attributes) == {  # type: ignore[attr-defined]
        "ddpm.request_id": "mine", "ddpm.model": "m", "ddpm.n": 2, "ddpm.steps": 50,
        "ddpm.sampler": "ddim", "ddpm.dropped": "too_late", "ddpm.key": "alice",
    }  # fmt: skip


@pytest.mark.slow
def test_a_request_has_its_queue_its_computation_and_its_encoding(
    tiny: Server, collector: Collector
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "traced",
               "Authorization": "Bearer the long secret key"}  # fmt: skip
    tiny.client.post("/sample", json={"n": 2, "steps": 3}, headers=headers)
    found = spans(collector, TRACE, "POST /sample", "queue", "compute", "encode")
    whole = found["POST /sample"]
    assert b"secret" not in b"".join(span.SerializeToString() for span in found.values())
    assert whole.parent_span_id.hex() == PARENT
    told = attributes(whole)
    assert told["http.response.status_code"] == 200
    assert (told["ddpm.request_id"], told["ddpm.n"]) == ("traced", 2)
    assert (told["ddpm.steps"], told["ddpm.sampler"]) == (3, "ddpm")
    queue, compute, encode = found["queue"], found["compute"], found["encode"]
    assert queue.end_time_unix_nano == compute.start_time_unix_nano
    assert compute.end_time_unix_nano <= encode.start_time_unix_nano
    assert encode.end_time_unix_nano <= whole.end_time_unix_nano


def test_a_stream_has_its_queue_and_its_computation(tiny: Server, collector: Collector) -> None:
    trace_id = TRACE[::-1]
    headers = {
        "traceparent": f"00-{trace_id}-{PARENT}-01",
        "Accept": "text/event-stream",
    }
    tiny.client.post("/denoise-trajectory", json={"steps": 3, "frames": 3}, headers=headers)
    found = spans(collector, trace_id, "POST /denoise-trajectory", "queue", "compute")
    whole, queue, compute = (found[n] for n in ("POST /denoise-trajectory", "queue", "compute"))
    assert queue.end_time_unix_nano == compute.start_time_unix_nano
    assert compute.end_time_unix_nano <= whole.end_time_unix_nano


def test_pipelined_requests_have_traces_of_their_own(tiny: Server, collector: Collector) -> None:
    ids = ["1" * 32, "2" * 32]
    with connect(tiny) as connection:
        connection.sendall(
            request("GET", "/livez", b"", f"traceparent: 00-{ids[0]}-{PARENT}-01")
            + request("GET", "/livez")
            + request("GET", "/livez", b"", f"traceparent: 00-{ids[1]}-{PARENT}-01")
        )
        for trace_id in ids:
            span = spans(collector, trace_id, "GET /livez")["GET /livez"]
            assert span.parent_span_id.hex() == PARENT
        assert Answer(connection, "GET").status == 200
    (between,) = (s for s in collector.spans if s.name == "GET /livez" and not s.parent_span_id)
    assert between.trace_id.hex() not in ids


@pytest.mark.slow
def test_without_the_variables_nothing_is_traced(tmp_path: Path, collector: Collector) -> None:
    flags = [f"--checkpoint={save_tiny(tmp_path / 'tiny')}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
        headers = {"traceparent": f"00-{'3' * 32}-{PARENT}-01"}
        assert server.client.get("/livez", headers=headers).status_code == 200
    assert not collector.of_trace("3" * 32)
