"""What is read of engines, models and answers whenever the metrics are asked for."""

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from app.http.metrics import Metrics


def parse(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@dataclass
class Batches:
    steps: int
    rows: int
    seconds: float
    preemptions: int


@dataclass
class Engine:
    name: str
    is_ready: bool = True
    restarts: int = 3
    hangs: int = 1
    memory_limits: int = 2
    max_batch: dict[str, int] = field(default_factory=lambda: {"m": 16})
    backlog: int = 50
    counts: dict[tuple[str, int], Batches] = field(
        default_factory=lambda: {
            ("m", 4): Batches(10, 35, 0.5, 1), ("m", 16): Batches(2, 32, 0.25, 2),
            ("other", 4): Batches(1, 1, 0.125, 0),
        }
    )  # fmt: skip


@dataclass
class Pool:
    queued_samples: int = 7
    outcomes: dict[tuple[str, str], int] = field(
        default_factory=lambda: {("m", "finished"): 5, ("m", "cancelled"): 1}
    )
    engines: list[Engine] = field(
        default_factory=lambda: [Engine("0"), Engine("1", is_ready=False)]
    )


@dataclass
class Model:
    name: str
    is_loaded: bool
    loads: int
    memory_bytes: int


def models() -> list[Model]:
    return [Model("m", True, 3, 2000), Model("other", False, 1, 0)]


@dataclass
class Answers:
    taken: int = 30
    total: int = 100


def new() -> Metrics:
    return Metrics(Pool(), models, Answers(), Answers())


def test_the_engines_are_read_when_they_are_asked_for() -> None:
    pool = Pool()
    metrics = Metrics(pool, models, Answers(), Answers())
    found = parse(metrics.text().decode())
    assert (found["ddpm_queued_samples",], found["ddpm_backlog_rows",]) == (7, 100)
    assert found["ddpm_samples_total", "m", "finished"] == 5
    assert (found["ddpm_engine_ready", "0"], found["ddpm_engine_ready", "1"]) == (1, 0)
    assert found["ddpm_engine_restarts_total", "0"] == 3
    assert found["ddpm_engine_hangs_total", "0"] == 1
    assert found["ddpm_engine_out_of_memory_total", "0"] == 2
    assert found["ddpm_engine_max_batch", "0", "m"] == 16
    assert found["ddpm_engine_preemptions_total", "0", "m"] == 3
    assert found["ddpm_engine_steps_total", "4", "0", "m"] == 10
    assert found["ddpm_engine_rows_total", "4", "0", "m"] == 35
    assert found["ddpm_engine_slots_total", "4", "0", "m"] == 40
    assert found["ddpm_engine_step_seconds_total", "16", "0", "m"] == 0.25
    assert found["ddpm_engine_steps_total", "4", "0", "other"] == 1
    pool.queued_samples = 0
    assert parse(metrics.text().decode())["ddpm_queued_samples",] == 0


def test_of_each_model_it_is_told_whether_it_is_loaded_and_what_it_takes() -> None:
    found = parse(new().text().decode())
    assert (found["ddpm_model_loaded", "m"], found["ddpm_model_loaded", "other"]) == (1, 0)
    assert found["ddpm_model_loads_total", "m"] == 3
    assert found["ddpm_model_memory_bytes", "m"] == 2000


def test_the_memory_of_answers_is_read_when_it_is_asked_for() -> None:
    answers = Answers()
    metrics = Metrics(Pool(), models, answers, Answers())
    found = parse(metrics.text().decode())
    assert (found["ddpm_answer_bytes",], found["ddpm_answer_bytes_limit",]) == (30, 100)
    answers.taken = 0
    assert parse(metrics.text().decode())["ddpm_answer_bytes",] == 0
