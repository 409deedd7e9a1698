"""The state of engines, models and answers as metrics: read whenever they are asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class BatchCounts(Protocol):
    """What an engine did in steps of one batch size."""

    @property
    def steps(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def preemptions(self) -> int: ...


class EngineCounts(Protocol):
    """The state and counts of one engine: `max_batch` by model, `counts` by model and batch
    size."""

    @property
    def name(self) -> str: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def restarts(self) -> int: ...
    @property
    def hangs(self) -> int: ...
    @property
    def memory_limits(self) -> int: ...
    @property
    def max_batch(self) -> Mapping[str, int]: ...
    @property
    def backlog(self) -> int: ...
    @property
    def counts(self) -> Mapping[tuple[str, int], BatchCounts]: ...


class PoolCounts(Protocol):
    """The state and counts of all engines; `outcomes` has the samples that left, by model and
    outcome."""

    @property
    def queued_samples(self) -> int: ...
    @property
    def outcomes(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def engines(self) -> Sequence[EngineCounts]: ...


class ModelCounts(Protocol):
    """The state and counts of one model."""

    @property
    def name(self) -> str: ...
    @property
    def is_loaded(self) -> bool: ...
    @property
    def loads(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...


class AnswerCounts(Protocol):
    """Bytes of memory that answers have `taken`, of a `total`."""

    @property
    def taken(self) -> int: ...
    @property
    def total(self) -> int: ...


class ModelsCollector:
    """Reads the models' state whenever the metrics are asked for."""

    def __init__(self, models: Callable[[], Iterable[ModelCounts]]) -> None:
        self.models = models

    def collect(self) -> Iterator[Metric]:
        """One value for each model."""
        name = ["model"]
        loaded = GaugeMetricFamily(
            "ddpm_model_loaded", "1 if the model is loaded, else 0.", labels=name
        )
        loads = CounterMetricFamily("ddpm_model_loads", "Times it has been loaded.", labels=name)
        memory = GaugeMetricFamily(
            "ddpm_model_memory_bytes", "Memory that it takes while it is loaded.", labels=name
        )
        for model in self.models():
            loaded.add_metric([model.name], model.is_loaded)
            loads.add_metric([model.name], model.loads)
            memory.add_metric([model.name], model.memory_bytes)
        yield from (loaded, loads, memory)


class AnswersCollector:
    """Reads what answers take of memory whenever the metrics are asked for."""

    def __init__(self, answers: AnswerCounts, cache: AnswerCounts) -> None:
        self.answers = answers
        self.cache = cache

    def collect(self) -> Iterator[Metric]:
        """What is taken, then its limit; of answers in progress, then of those that are kept."""
        yield GaugeMetricFamily(
            "ddpm_answer_bytes",
            "Memory reserved for answers that are being made and sent.",
            self.answers.taken,
        )
        yield GaugeMetricFamily(
            "ddpm_answer_bytes_limit",
            "Memory that all answers together may reserve.",
            self.answers.total,
        )
        yield GaugeMetricFamily(
            "ddpm_answers_cache_bytes", "Bytes of the answers that are kept.", self.cache.taken
        )
        yield GaugeMetricFamily(
            "ddpm_answers_cache_bytes_limit", "Bytes that they may have.", self.cache.total
        )


class PoolCollector:
    """Reads the engines' state and counts whenever the metrics are asked for."""

    def __init__(self, pool: PoolCounts) -> None:
        self.pool = pool

    def collect(self) -> Iterator[Metric]:
        """The metric families of the queue, then those of each engine."""
        backlog = sum(engine.backlog for engine in self.pool.engines)
        yield GaugeMetricFamily(
            "ddpm_queued_samples", "Samples waiting or running.", self.pool.queued_samples
        )
        yield GaugeMetricFamily(
            "ddpm_backlog_rows",
            "Network rows left to compute for the queued samples, at most.",
            backlog,
        )
        samples = CounterMetricFamily(
            "ddpm_samples",
            "Samples that left the engines, by model and outcome.",
            labels=["model", "outcome"],
        )
        for (model, outcome), count in self.pool.outcomes.items():
            samples.add_metric([model, outcome], count)
        yield samples
        yield from self._engines()
        yield from self._models()
        yield from self._batches()

    def _engines(self) -> Iterator[Metric]:
        """One value for each engine."""
        name = ["engine"]
        ready = GaugeMetricFamily(
            "ddpm_engine_ready", "1 if the engine is ready for requests, else 0.", labels=name
        )
        restarts = CounterMetricFamily(
            "ddpm_engine_restarts", "Restarts of the engine.", labels=name
        )
        hangs = CounterMetricFamily(
            "ddpm_engine_hangs", "Restarts of the engine because a step took too long.", labels=name
        )
        memory = CounterMetricFamily(
            "ddpm_engine_out_of_memory",
            "Steps that ran out of memory and were repeated with fewer rows.",
            labels=name,
        )
        for engine in self.pool.engines:
            label = [engine.name]
            ready.add_metric(label, engine.is_ready)
            restarts.add_metric(label, engine.restarts)
            hangs.add_metric(label, engine.hangs)
            memory.add_metric(label, engine.memory_limits)
        yield from (ready, restarts, hangs, memory)

    def _models(self) -> Iterator[Metric]:
        """One value for each engine and model."""
        names = ["engine", "model"]
        limit = GaugeMetricFamily(
            "ddpm_engine_max_batch", "Largest number of rows in a step.", labels=names
        )
        preemptions = CounterMetricFamily(
            "ddpm_engine_preemptions", "Images set aside to let more urgent ones run.", labels=names
        )
        for engine in self.pool.engines:
            for model, rows in engine.max_batch.items():
                limit.add_metric([engine.name, model], rows)
            preempted: dict[str, int] = {}
            for (model, _), count in engine.counts.items():
                preempted[model] = preempted.get(model, 0) + count.preemptions
            for model, images in preempted.items():
                preemptions.add_metric([engine.name, model], images)
        yield from (limit, preemptions)

    def _batches(self) -> Iterator[Metric]:
        """One value for each engine, model and batch size."""
        names = ["engine", "model", "batch_size"]
        steps = CounterMetricFamily("ddpm_engine_steps", "Network calls.", labels=names)
        rows = CounterMetricFamily(
            "ddpm_engine_rows", "Rows computed, without padding.", labels=names
        )
        slots = CounterMetricFamily(
            "ddpm_engine_slots", "Rows computed, with padding.", labels=names
        )
        seconds = CounterMetricFamily(
            "ddpm_engine_step_seconds", "Seconds spent in network calls.", labels=names
        )
        for engine in self.pool.engines:
            for (model, size), count in sorted(engine.counts.items()):
                labels = [engine.name, model, str(size)]
                steps.add_metric(labels, count.steps)
                rows.add_metric(labels, count.rows)
                slots.add_metric(labels, count.steps * size)  # a batch is padded to its size
                seconds.add_metric(labels, count.seconds)
        yield from (steps, rows, slots, seconds)
