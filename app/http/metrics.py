"""What the server counts, in Prometheus' text format. Each app has a registry of its own."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app.http.collectors import (
    AnswerCounts,
    AnswersCollector,
    ModelCounts,
    ModelsCollector,
    PoolCollector,
    PoolCounts,
)
from app.http.request_log import RequestRecord

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Upper bounds of the histograms' buckets."""
PICTURE_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the buckets for one picture."""
REUSED = ("known", "shared", "kept")
"""How an answer may be had without a step."""
PICTURES = (
    "decoded", "not_base64", "too_large", "unknown_format", "wrong_size", "unusable",
    "out_of_memory", "too_slow", "crash",
)  # fmt: skip
"""What may become of a picture that a client sends."""


class Metrics:
    """The counts of one server: requests as they end, those of engines and answers when read."""

    def __init__(
        self,
        pool: PoolCounts,
        models: Callable[[], Iterable[ModelCounts]],
        answers: AnswerCounts,
        cache: AnswerCounts,
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ModelsCollector(models))
        self.registry.register(PoolCollector(pool))
        self.registry.register(AnswersCollector(answers, cache))
        self.requests = self._counter(
            "ddpm_requests", "Requests answered, by route and status.", "path", "status"
        )
        self.seconds = self._histogram(
            "ddpm_request_seconds", "Seconds from a request's arrival to the end of its answer.",
            "path",
        )  # fmt: skip
        self.first_frame = self._histogram(
            "ddpm_first_frame_seconds",
            "Seconds from the arrival of a streaming request to its first frame.",
        )
        self.keys = self._counter(
            "ddpm_key_requests", "Requests with an API key, by the key's name.", "key"
        )
        self.reused = self._counter(
            "ddpm_reused_answers",
            "Answers that took no step of their own: the client has it (known), it was being made "
            "for another request (shared), or was kept (kept).",
            "how", values=REUSED,
        )  # fmt: skip
        self.drops = self._counter("ddpm_drops", "Requests refused or lost, by reason.", "reason")
        self.pictures = self._counter(
            "ddpm_pictures", "Pictures and states that clients sent, by what became of them.",
            "outcome", values=PICTURES,
        )  # fmt: skip
        self.picture_seconds = self._histogram(
            "ddpm_picture_seconds", "Seconds that it took to decode one of these, or to refuse it.",
            buckets=PICTURE_SECONDS,
        )  # fmt: skip

    def _counter(self, name: str, text: str, *labels: str, values: Sequence[str] = ()) -> Counter:
        """A counter with these labels; of one label the `values` are there from the start."""
        counter = Counter(name, text, labels, registry=self.registry)
        for value in values:  # a rate needs the 0 before the first one
            counter.labels(value)
        return counter

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def count(self, path: str, status: str, record: RequestRecord) -> None:
        """Count a request that is over under its route's path and its status."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(record.seconds)
        if record.first_frame_seconds is not None:
            self.first_frame.observe(record.first_frame_seconds)
        if record.key_name is not None:
            self.keys.labels(record.key_name).inc()
        if record.dropped is not None:
            self.drops.labels(record.dropped).inc()

    def count_picture(self, outcome: str, seconds: float) -> None:
        """Count a picture or a state that was decoded or refused, which took so many seconds."""
        self.pictures.labels(outcome).inc()
        self.picture_seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
