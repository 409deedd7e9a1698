"""Log lines: one an event, with the request's id from the client to the engine."""

import json
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import logs
from tests.app.raw_http import ask, request
from tests.app.server import Server, faulty
from tests.conftest import ServerFor

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def logging_server(server_for: ServerFor, plain: Path) -> Server:
    return server_for(f"--checkpoint={plain}", "--log-format=json")


def lines(server: Server, **fields: object) -> Lines:
    """The lines that have these fields; they are written after the client has its answer."""
    for _ in range(100):
        every: Lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        found = [line for line in every if fields.items() <= line.items()]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(server.log.read_text())


def test_every_request_is_one_json_line(logging_server: Server) -> None:
    body, headers = {"n": 2, "steps": 3}, {"X-Request-ID": "mine"}
    assert logging_server.client.post("/sample", json=body, headers=headers).status_code == 200
    (line,) = lines(logging_server, event="answered", request_id="mine")
    assert line.pop("seconds") > 0
    assert line.pop("timestamp").endswith("Z")
    assert len(line.pop("job")) == 32
    assert line == {
        "event": "answered", "level": "info", "logger": "ddpm.access", "request_id": "mine",
        "client": "127.0.0.1", "method": "POST", "path": "/sample", "status": 200,
        "model": "tiny", "n": 2, "steps": 3, "sampler": "ddpm",
    }  # fmt: skip


def test_where_it_listens_is_a_line_as_well(logging_server: Server) -> None:
    (line,) = lines(logging_server, event="ready")
    assert line["url"] == f"{logging_server.url}/"


def test_the_start_is_told_step_by_step_and_nothing_twice(logging_server: Server) -> None:
    start = lines(logging_server, level="info")
    events = [line["event"] for line in start if line["event"] != "answered"]
    assert events[0].startswith("starting ddpm ")
    assert f"listening on {logging_server.url}/; Ctrl-C stops the server" in events
    assert any(event.endswith(" is starting; device: auto") for event in events)
    assert any(" is ready: " in event for event in events)
    assert len(events) == len(set(events))
    assert {line["logger"] for line in start} <= {"ddpm.server", "ddpm.access", "ddpm.engine"}


def test_probes_are_shown_to_those_who_debug_alone(server_for: ServerFor, plain: Path) -> None:
    flags = [f"--checkpoint={plain}", "--log-format=json"]
    quiet, talkative = server_for(*flags), server_for(*flags, "--log-level=debug")
    for server in (quiet, talkative):
        for path in ("/livez", "/readyz", "/metrics", "/model"):
            assert server.client.get(path).status_code == 200
    lines(quiet, path="/model")
    assert "/livez" not in quiet.log.read_text()
    for path in ("/livez", "/readyz", "/metrics"):
        assert lines(talkative, path=path)[0]["level"] == "debug"


def test_a_refused_request_is_a_line_with_the_reason(logging_server: Server) -> None:
    logging_server.client.post("/sample", json={"n": 0}, headers={"X-Request-ID": "refused"})
    (line,) = lines(logging_server, request_id="refused")
    assert (line["status"], line["dropped"]) == (422, "invalid_request")
    assert "n" not in line, "it is no job"


def test_a_client_that_leaves_is_a_line_too(logging_server: Server) -> None:
    with httpx.Client(base_url=logging_server.url, timeout=0.3) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            slow = {"n": 256, "steps": 50}
            impatient.post("/sample", json=slow, headers={"X-Request-ID": "impatient"})
    (line,) = lines(logging_server, request_id="impatient")
    assert (line["dropped"], line["n"]) == ("disconnected", 256)


def test_a_path_cannot_write_lines_of_its_own(logging_server: Server) -> None:
    target = "/nothing%0a%7b%22event%22:%22forged%22%7d%0a%1b[31m"
    ask(logging_server, request("GET", target, b"", "X-Request-ID: forger"), "GET").problem(404)
    (line,) = lines(logging_server, request_id="forger")
    assert line["path"] == '/nothing\n{"event":"forged"}\n\x1b[31m'


@pytest.mark.slow
def test_the_engines_lines_name_the_request(plain: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={plain}", "--runtime=eager", "--log-format=json"]
    with Server(tmp_path / "server.log", *flags, engine=faulty("nan=666")) as server:
        answer = server.client.post(
            "/sample", json={"steps": 5, "seed": 666}, headers={"X-Request-ID": "hopeless"}
        )
        assert answer.status_code == 500
        (line,) = lines(server, logger="ddpm.engine", request_id="hopeless")
        assert line["reason"] == "sample 0 is not a number after step 4 of 5"
        (line,) = lines(server, event="answered", request_id="hopeless")
        assert (line["status"], line["dropped"]) == (500, "internal_error")


def test_the_death_of_an_engine_names_the_requests_it_held(logging_server: Server) -> None:
    body = {"n": 200, "steps": 50}
    headers = {"X-Request-ID": "long"}
    asking = threading.Thread(
        target=lambda: logging_server.client.post("/sample", json=body, headers=headers)
    )
    asking.start()
    while "ddpm_queued_samples 0.0" in logging_server.client.get("/metrics").text:
        time.sleep(0.01)
    os.kill(logging_server.engine_pid(), signal.SIGKILL)
    asking.join()
    (line,) = [line for line in lines(logging_server, level="error") if "died" in line["event"]]
    assert line["requests"] == ["long"]
    (line,) = lines(logging_server, event="answered", request_id="long")
    assert line["status"] == 200


@pytest.mark.parametrize(
    ("level", "ours", "libraries"),
    [
        ("debug", logging.DEBUG, logging.INFO),
        ("info", logging.INFO, logging.WARNING),
        ("error", logging.ERROR, logging.ERROR),
    ],
)
def test_libraries_say_less_than_we_do(level: logs.Level, ours: int, libraries: int) -> None:
    logs.configure("text", level)
    assert logging.getLogger("ddpm.engine").getEffectiveLevel() == ours
    for library in ("uvicorn.error", "alembic.runtime.migration", "httpx"):
        assert logging.getLogger(library).getEffectiveLevel() == libraries


@pytest.mark.parametrize(
    ("logger", "shown"),
    [
        ("ddpm.access", "ddpm.access"),
        ("uvicorn.error", "ddpm.server"),
        ("alembic.runtime.migration", "ddpm.jobs"),
        ("httpx", "httpx"),
    ],
)
def test_a_librarys_line_is_named_and_formed_like_ours(logger: str, shown: str) -> None:
    line = json.loads(formatted("json", "hello", name=logger, color_message="\x1b[1mhello"))
    assert line.pop("timestamp")
    assert line == {"event": "hello", "level": "info", "logger": shown}


def formatted(log_format: logs.Format, message: str, **fields: object) -> str:
    record = logging.makeLogRecord(
        {"name": "test", "levelno": logging.INFO, "levelname": "INFO", "msg": message, **fields}
    )
    return logs.formatter(log_format).format(record)


def test_text_is_for_people_and_keeps_to_its_line() -> None:
    line = formatted("text", "answered", path="/a\n2026-01-01 [error] forged \x1b[31m", status=404)
    assert r"path='/a\n2026-01-01 [error] forged \x1b[31m'" in line and "status=404" in line
    assert len(line.splitlines()) == 1 and "\x1b" not in line


def test_an_exception_in_json_is_within_its_line() -> None:
    try:
        raise KeyError("lost")
    except KeyError as error:
        line = formatted("json", "failed", exc_info=(KeyError, error, error.__traceback__))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["exception"].endswith("KeyError: 'lost'")
