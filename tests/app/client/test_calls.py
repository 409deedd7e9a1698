"""A call that is made until it is answered, and what is said when it is not."""

import json
import pickle
import socket
import ssl
from typing import Any

import httpx
import pytest

from app.client import (
    BadGateway,
    BrokenAnswer,
    InvalidRequest,
    OverLimit,
    ProblemError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from app.client.calls import unreachable
from app.client.effects import Answer
from tests.app.client.script import FULL, OVER, PNG, REFUSED, RESET, SAMPLE, sample, samples


def test_a_full_server_is_asked_again_when_it_said() -> None:
    run = sample(FULL, OVER, samples(SAMPLE))
    assert run.slept == [7, 2]
    assert len(run.calls) == 3
    assert run.emitted[0].samples[0].png == PNG


def test_without_a_time_the_pauses_grow() -> None:
    silent = Answer(503, {}, b"<html>a proxy's own</html>")
    run = sample(*[silent] * 7, samples(SAMPLE), seconds=600)
    assert run.slept == [0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize(("answer", "kind"), [(FULL, Unavailable), (OVER, OverLimit)])
def test_what_would_take_too_long_is_raised_at_once(
    answer: Answer, kind: type[ProblemError]
) -> None:
    run = sample(answer, seconds=1)
    assert run.slept == []
    assert isinstance(run.raised, kind)
    assert run.raised.retry_after == int(answer.headers["retry-after"])


def test_what_is_wrong_is_not_asked_again() -> None:
    errors = [{"field": "n", "value": 0, "message": "too few"}]
    body = {"title": "Invalid request", "detail": "n: too few", "errors": errors}
    run = sample(Answer(422, {"x-request-id": "r7"}, json.dumps(body).encode()))
    assert isinstance(run.raised, InvalidRequest)
    assert str(run.raised) == "422 Invalid request: n: too few"
    assert run.raised.errors == tuple(errors)
    assert run.raised.request_id == "r7"


def test_a_status_nobody_knows_is_a_problem_with_what_it_said() -> None:
    run = sample(Answer(418, {}, b'{"title": "A teapot", "detail": "short and stout"}'))
    assert type(run.raised) is ProblemError
    assert (run.raised.status, run.raised.detail) == (418, "short and stout")


def test_a_broken_connection_is_tried_again_and_one_never_made_is_not() -> None:
    assert sample(RESET, samples(SAMPLE)).slept == [0.5]
    run = sample(REFUSED)
    assert isinstance(run.raised, Unreachable) and "refused" in str(run.raised)
    assert isinstance(sample(httpx.ReadTimeout("slow")).raised, TimedOut)


@pytest.mark.parametrize("first", [RESET, FULL])
def test_a_server_that_ends_in_the_middle_is_waited_for_until_it_is_back(first: Any) -> None:
    behind_a_proxy = Answer(502, {}, b"<html>no server</html>")
    run = sample(first, REFUSED, behind_a_proxy, REFUSED, samples(SAMPLE))
    assert len(run.calls) == 5 and run.emitted[0].samples[0].png == PNG


def test_the_wait_for_an_answer_is_what_is_left_of_the_time() -> None:
    (call,) = sample(samples(SAMPLE), seconds=60).calls
    assert 59 < call.seconds <= 60
    assert call.body == {"n": 2, "first_index": 0, "sampler": "ddpm", "labels": [1, 2],
                         "guidance": 0.0}  # fmt: skip


def failed(error: httpx.TransportError, cause: BaseException | None = None) -> str:
    """What is said of an error of httpx that has a cause, for a request to some address."""
    error.request = httpx.Request("GET", "https://me:secret@example.org:8000/ddpm/model?a=b")
    error.__cause__ = cause
    return str(unreachable(error))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ConnectionRefusedError(111, "refused"), "nothing listens there; start a server"),
        (socket.gaierror(-2, "Name or service not known"), "no host has this name"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "it does not speak https; try http://"),
        (None, "whatever"),
    ],
    ids=["refused", "unknown host", "no https", "another"],
)
def test_a_server_that_cannot_be_reached_is_named_with_what_to_try(
    cause: BaseException | None, reason: str
) -> None:
    said = failed(httpx.ConnectError("whatever"), cause)
    assert said.startswith(f"https://example.org:8000 cannot be reached: {reason}")


def test_a_broken_connection_a_proxy_and_a_silent_server_are_told_apart() -> None:
    assert failed(httpx.ReadError("reset")) == (
        "the connection to https://example.org:8000 broke: reset"
    )
    assert "name the host in NO_PROXY" in failed(httpx.ProxyError("403 Forbidden"))
    assert "`timeout` is how long a call may take" in failed(httpx.ReadTimeout("slow"))
    assert "is it the right host and port?" in failed(httpx.ConnectTimeout("slow"))
    assert str(unreachable(httpx.ReadError(""))) == (
        "the connection to the server broke: ReadError"
    ), "without a request"


def test_a_proxy_whose_server_was_never_reached_is_not_waited_for() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head></html>"
    answer = Answer(502, {"content-type": "text/html"}, page, "http://a:1/sample")
    run = sample(answer)
    assert isinstance(run.raised, BadGateway) and run.slept == []
    assert str(run.raised) == (
        "502 Bad Gateway: http://a:1/sample answered with a web page ('502 Bad Gateway'), which "
        "this service does not send: it comes from a proxy in front of the server, or another "
        "program has this address"
    )


def test_the_page_of_another_program_is_no_answer() -> None:
    page = Answer(200, {"content-type": "text/html; charset=utf-8"}, b"<html>", "http://a:1/sample")
    run = sample(page)
    assert isinstance(run.raised, BrokenAnswer)
    assert str(run.raised).startswith("http://a:1/sample answered with text/html, not application/")


@pytest.mark.parametrize("status", [404, 405])
def test_an_address_without_our_paths_is_no_server_of_ours(status: int) -> None:
    body = json.dumps({"title": "Not found", "detail": "GET /docs/sample: Not Found"}).encode()
    raised = sample(Answer(status, {}, body, "http://a:1/docs/sample")).raised
    assert isinstance(raised, ProblemError)
    assert raised.detail == "there is no ddpm server at http://a:1/docs"
    again = pickle.loads(pickle.dumps(raised))
    assert (type(again), str(again), vars(again)) == (type(raised), str(raised), vars(raised))
