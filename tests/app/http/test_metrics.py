"""GET /metrics: what Prometheus reads is what the server did."""

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.http.metrics import PICTURES
from app.http.request_log import RequestRecord
from tests.app.http.test_collectors import new, parse
from tests.app.server import Server
from tests.tiny import save_tiny


def read(server: Server) -> dict[tuple[str, ...], float]:
    """What the server's /metrics says."""
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return parse(answer.text)


def test_a_request_that_is_over_is_counted_once() -> None:
    metrics, record = new(), RequestRecord()
    record.saw_frame()
    record.drop("too_late")
    metrics.count("/sample", "504", record)
    found = parse(metrics.text().decode())
    assert found["ddpm_requests_total", "/sample", "504"] == 1
    assert found["ddpm_request_seconds_count", "/sample"] == 1
    assert found["ddpm_first_frame_seconds_count",] == 1
    assert found["ddpm_drops_total", "too_late"] == 1


def test_a_picture_that_a_client_sent_is_counted_by_what_became_of_it() -> None:
    metrics = new()
    assert parse(metrics.text().decode())["ddpm_pictures_total", "decoded"] == 0
    metrics.count_picture("decoded", 0.02)
    metrics.count_picture("wrong_size", 0.002)
    found = parse(metrics.text().decode())
    assert found["ddpm_pictures_total", "decoded"] == 1
    assert found["ddpm_pictures_total", "wrong_size"] == 1
    assert found["ddpm_picture_seconds_count",] == 2
    assert found["ddpm_picture_seconds_sum",] == pytest.approx(0.022)


def test_every_metric_says_what_it_counts() -> None:
    families = text_string_to_metric_families(new().text().decode())
    assert all(family.documentation.endswith(".") for family in families)


def eventually(server: Server, holds: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
    """The engine tells its counts once a second, and when it has nothing more to do."""
    for _ in range(100):
        if holds(read(server)):
            return
        time.sleep(0.1)
    raise AssertionError(read(server))


@pytest.mark.slow
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


def test_pictures_that_clients_send_are_counted(server: Server) -> None:
    def told(outcome: str) -> float:
        return read(server)["ddpm_pictures_total", outcome]

    before = {outcome: told(outcome) for outcome in PICTURES}
    for name in ("three", "lower-half"):
        picture = base64.b64encode(Path(f"docs/editing/{name}.png").read_bytes()).decode()
        body = {"start": {"image": [picture, "?"]}, "n": 2, "mask": picture}
        assert server.post("/sample", body).status_code == 422
    found = {outcome: told(outcome) - before[outcome] for outcome in PICTURES}
    assert found == {**dict.fromkeys(PICTURES, 0.0), "decoded": 2.0, "not_base64": 2.0}


def test_a_client_that_leaves_is_counted_and_the_queue_shows_who_waits(server: Server) -> None:
    before = read(server).get(("ddpm_samples_total", "mnist", "cancelled"), 0)
    with httpx.Client(base_url=server.url, timeout=0.5) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.post("/sample", json={"n": 40, "steps": 1000})
    eventually(
        server, lambda found: found.get(("ddpm_samples_total", "mnist", "cancelled"), 0) > before
    )
    assert read(server)["ddpm_queued_samples",] == 0


@pytest.mark.slow
def test_what_is_refused_or_lost_is_counted_by_why(tmp_path: Path) -> None:
    flags = [f"--checkpoint={save_tiny(tmp_path / 'tiny')}", "--max-queue-samples=2"]
    flags += ["--runtime=eager", "--max-request-bytes=50"]
    slow = ("tests.fake_engine", "0.03")
    with (
        Server(tmp_path / "server.log", *flags, engine=slow) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(server.post, "/sample", {"n": 2, "steps": 50})
        eventually(server, lambda found: found["ddpm_queued_samples",] == 2)
        server.post("/sample", {})
        assert running.result().status_code == 200
        server.post("/sample", {"n": 0})
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
