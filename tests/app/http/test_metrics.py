"""GET /metrics: what Prometheus reads is what the server did."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.http.metrics import Metrics
from app.http.request_log import RequestRecord
from tests.app.server import Server
from tests.tiny import save_tiny


def parse(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(server: Server) -> dict[tuple[str, ...], float]:
    """What the server's /metrics says."""
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return parse(answer.text)


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
    found = parse(Metrics(Pool(), models, Answers(), Answers()).text().decode())
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


def test_a_request_that_is_over_is_counted_once() -> None:
    metrics, record = Metrics(Pool(), models, Answers(), Answers()), RequestRecord()
    record.saw_frame()
    record.drop("too_late")
    metrics.count("/sample", "504", record)
    found = parse(metrics.text().decode())
    assert found["ddpm_requests_total", "/sample", "504"] == 1
    assert found["ddpm_request_seconds_count", "/sample"] == 1
    assert found["ddpm_first_frame_seconds_count",] == 1
    assert found["ddpm_drops_total", "too_late"] == 1


def test_every_metric_says_what_it_counts() -> None:
    families = text_string_to_metric_families(
        Metrics(Pool(), models, Answers(), Answers()).text().decode()
    )
    assert all(family.documentation.endswith(".") for family in families)


def eventually(server: Server, holds: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
    """The engine tells its counts once a second, and when it has nothing more to do."""
    for _ in range(100):
        if holds(read(server)):
            return
        time.sleep(0.1)
    raise AssertionError(read(server))


def test_answers_samples_and_steps_are_counted(tmp_path: Path) -> None:
    flags = [f"--checkpoint={save_tiny(tmp_path / 'tiny')}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
        server.post("/sample", {"n": 3, "steps": 7})
        server.post("/sample", {"n": 0})
        server.client.get("/nowhere/at/all")
        server.post("/denoise-trajectory", {"steps": 5})

        def steps_are_told(found: dict[tuple[str, ...], float]) -> bool:
            return found.get(("ddpm_engine_steps_total", "4", "0", "tiny")) == 7 + 5

        eventually(server, steps_are_told)
        found = read(server)
        assert found["ddpm_engine_rows_total", "4", "0", "tiny"] == 3 * 7 + 5
        assert found["ddpm_engine_slots_total", "4", "0", "tiny"] == 4 * (7 + 5)
        assert found["ddpm_engine_step_seconds_total", "4", "0", "tiny"] > 0
        assert found["ddpm_samples_total", "tiny", "finished"] == 4
        assert found["ddpm_requests_total", "/sample", "200"] == 1
        assert found["ddpm_requests_total", "/sample", "422"] == 1
        assert found["ddpm_requests_total", "other", "404"] == 1, "paths are not the client's"
        assert found["ddpm_request_seconds_count", "/denoise-trajectory"] == 1
        assert found["ddpm_queued_samples",] == found["ddpm_backlog_rows",] == 0
        assert found["ddpm_engine_ready", "0"] == 1
        assert found["ddpm_engine_restarts_total", "0"] == 0


def test_a_client_that_leaves_is_counted_and_the_queue_shows_who_waits(server: Server) -> None:
    before = read(server).get(("ddpm_samples_total", "mnist", "cancelled"), 0)
    with httpx.Client(base_url=server.url, timeout=0.5) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.post("/sample", json={"n": 40, "steps": 1000})
    eventually(
        server, lambda found: found.get(("ddpm_samples_total", "mnist", "cancelled"), 0) > before
    )
    assert read(server)["ddpm_queued_samples",] == 0


def test_what_is_refused_or_lost_is_counted_by_why(tmp_path: Path) -> None:
    flags = [f"--checkpoint={save_tiny(tmp_path / 'tiny')}", "--max-queue-samples=2"]
    flags += ["--runtime=eager", "--max-request-bytes=50"]
    with Server(tmp_path / "server.log", *flags) as server:
        server.post("/sample", {"n": 0})
        server.post("/sample", {"n": 3})
        server.post("/sample", {"labels": [0] * 100})
        server.post("/sample", {}, "text/html")
        server.client.get("/nothing")
        server.client.get("/sample")
        with httpx.Client(base_url=server.url, timeout=0.05) as impatient:
            with pytest.raises(httpx.ReadTimeout):
                impatient.post("/sample", json={"n": 2, "steps": 50})

        def all_are_told(found: dict[tuple[str, ...], float]) -> bool:
            return all(found.get(("ddpm_drops_total", reason)) == 1 for reason in reasons)

        reasons = ["invalid_request", "overloaded", "request_body_too_large"]
        reasons += ["no_such_representation", "not_found", "method_not_allowed", "disconnected"]
        eventually(server, all_are_told)


def test_the_first_frame_of_a_stream_is_timed(server: Server) -> None:
    before = read(server)["ddpm_first_frame_seconds_count",]
    server.post("/denoise-trajectory", {"steps": 3, "frames": 3}, "text/event-stream")
    server.post("/denoise-trajectory", {"steps": 3, "frames": 3})
    assert read(server)["ddpm_first_frame_seconds_count",] == before + 1
