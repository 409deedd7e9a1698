"""One line and one count for every request, without a server."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.generation.budget import Budget
from app.http.access_log import AccessLog
from app.http.metrics import Metrics
from app.http.request_log import RequestRecord

SCOPE = {"type": "http", "method": "POST", "path": "/sample", "client": ("10.0.0.1", 1234)}


@dataclass
class NoEngines:
    """A pool in which nothing happens."""

    queued_samples: int = 0
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    engines: list[Any] = field(default_factory=list)


async def answer(scope: Scope, _: Receive, send: Send) -> None:
    scope["route"] = Route()
    RequestRecord.of(scope).describe_job(id="a", model="m", n=2, steps=3, sampler="ddpm")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"whole"})


async def see_the_client_leave(_: Scope, receive: Receive, __: Send) -> None:
    await receive()


async def answer_a_key(scope: Scope, receive: Receive, send: Send) -> None:
    RequestRecord.of(scope).key_name = "alice"
    await answer(scope, receive, send)


async def fail(*_: object) -> None:
    raise KeyError("a bug")


class Route:
    path = "/sample"


def run(
    app: Any, caplog: pytest.LogCaptureFixture, probes: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str]:
    """The fields of the log line, and the metrics, after one request to `app`."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    metrics = Metrics(NoEngines(), list, Budget(100), Budget(100))
    with caplog.at_level(logging.DEBUG, "ddpm.access"):
        try:
            asyncio.run(AccessLog(app, metrics, probes)({**SCOPE}, receive, send))
        except KeyError:
            pass
    (line,) = caplog.records
    return vars(line), metrics.text().decode()


def test_an_answer_is_logged_with_its_job_and_counted_under_its_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line, metrics = run(answer, caplog)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/sample", 200)
    assert (line["job"], line["n"], line["steps"], line["sampler"]) == ("a", 2, 3, "ddpm")
    assert line["client"] == "10.0.0.1"
    assert "dropped" not in line and "key" not in line
    assert 'ddpm_requests_total{path="/sample",status="200"} 1.0' in metrics


def test_a_key_is_named_and_its_requests_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    line, metrics = run(answer_a_key, caplog)
    assert line["key"] == "alice"
    assert 'ddpm_key_requests_total{key="alice"} 1.0' in metrics


def test_a_client_that_leaves_before_its_answer_is_counted_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line, metrics = run(see_the_client_leave, caplog)
    assert (line["status"], line["dropped"]) == (None, "disconnected")
    assert "job" not in line
    assert 'ddpm_requests_total{path="other",status="none"} 1.0' in metrics
    assert 'ddpm_drops_total{reason="disconnected"} 1.0' in metrics


def test_a_request_that_fails_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    line, _ = run(fail, caplog)
    assert line["status"] is None


def test_only_the_requests_of_probes_are_left_to_those_who_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line, metrics = run(answer, caplog, probes=("/livez",))
    assert line["levelname"] == "INFO"
    caplog.clear()
    line, metrics = run(answer, caplog, probes=("/livez", "/sample"))
    assert line["levelname"] == "DEBUG"
    assert 'ddpm_requests_total{path="/sample",status="200"} 1.0' in metrics, "they count as others"
