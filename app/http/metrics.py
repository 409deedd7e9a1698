"""What the server counts, as Prometheus reads it. One registry an app; nothing is global."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.http.request_log import Record
from app.pool.pool import Supervisor

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """The registry, and what is counted as it happens; the engines are asked when it is read."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(supervisor))
        self.requests = Counter(
            "ddpm_requests", "Answers.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "ddpm_request_seconds", "From a request's arrival to the end of its answer.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.first_frame = Histogram(
            "ddpm_first_frame_seconds", "From a stream's arrival to its first frame.",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.drops = Counter(
            "ddpm_drops", "Requests refused or lost, by why.", ["reason"], registry=self.registry
        )

    def count(self, path: str, status: str, record: Record) -> None:
        """Count a request that is over."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(record.seconds)
        if record.first_frame_seconds is not None:
            self.first_frame.observe(record.first_frame_seconds)
        if record.dropped is not None:
            self.drops.labels(record.dropped).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class EngineCollector:
    """The engines' state and counts at the moment of reading."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        supervisor = self.supervisor
        queued, backlog = supervisor.queued_samples, sum(e.backlog for e in supervisor.engines)
        yield GaugeMetricFamily("ddpm_queued_samples", "Unfinished samples.", queued)
        yield GaugeMetricFamily("ddpm_backlog_rows", "Network rows to be run for them.", backlog)
        samples = CounterMetricFamily(
            "ddpm_samples", "Samples that left, by how.", labels=["outcome"]
        )
        for outcome, count in supervisor.outcomes.items():
            samples.add_metric([outcome], count)
        yield samples
        yield from self._engines()

    def _engines(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("ddpm_engine_ready", "1: it can take steps.", labels=["engine"])
        restarts = CounterMetricFamily("ddpm_engine_restarts", "Deaths.", labels=["engine"])
        hangs = CounterMetricFamily(
            "ddpm_engine_hangs", "Deaths by the watchdog's hand.", labels=["engine"]
        )
        memory = CounterMetricFamily(
            "ddpm_engine_out_of_memory", "Steps that had to be made smaller.", labels=["engine"]
        )
        limit = GaugeMetricFamily("ddpm_engine_max_batch", "Rows in a step.", labels=["engine"])
        by_size = ["engine", "batch_size"]
        steps = CounterMetricFamily("ddpm_engine_steps", "Network calls.", labels=by_size)
        rows = CounterMetricFamily(
            "ddpm_engine_rows", "Rows in them, without the padding.", labels=by_size
        )
        slots = CounterMetricFamily(
            "ddpm_engine_slots", "Rows in them, with the padding.", labels=by_size
        )
        seconds = CounterMetricFamily(
            "ddpm_engine_step_seconds", "Seconds that they took.", labels=by_size
        )
        preemptions = CounterMetricFamily(
            "ddpm_engine_preemptions", "Images that had to make room.", labels=["engine"]
        )
        for i, engine in enumerate(self.supervisor.engines):
            ready.add_metric([str(i)], engine.is_ready)
            restarts.add_metric([str(i)], engine.restarts)
            hangs.add_metric([str(i)], engine.hangs)
            memory.add_metric([str(i)], engine.memory_limits)
            limit.add_metric([str(i)], engine.max_batch)
            preempted = sum(count.preemptions for count in engine.counts.values())
            preemptions.add_metric([str(i)], preempted)
            for size, count in sorted(engine.counts.items()):
                labels = [str(i), str(size)]
                steps.add_metric(labels, count.steps)
                rows.add_metric(labels, count.rows)
                slots.add_metric(labels, count.steps * size)
                seconds.add_metric(labels, count.seconds)
        yield from (ready, restarts, hangs, memory, limit, preemptions)
        yield from (steps, rows, slots, seconds)
