"""What a client does about its jobs: waits, goes on, gives up."""

import io
import json
import pickle
from typing import Any

import pytest

from app.client import (
    Conflict,
    Gone,
    JobCancelled,
    JobFailed,
    NotFound,
    SampleRequest,
    ServerError,
    TimedOut,
    Unreachable,
    job_flows,
)
from app.client.effects import Answer
from app.client.patience import Patience
from tests.app.client.script import FULL, JOB, OPEN, REFUSED, RESET, Run, event, watch


def test_a_job_that_is_submitted_twice_has_one_key() -> None:
    accepted = Answer(202, {}, json.dumps(JOB).encode())
    run = Run(job_flows.submit(SampleRequest(), Patience(60)), [RESET, accepted])
    first, second = (call.headers["Idempotency-Key"] for call in run.calls)
    assert first == second
    assert run.emitted[0].id == "a"


def test_a_watched_job_goes_on_behind_its_last_event() -> None:
    finished = {**JOB, "status": "finished", "done": 9}
    run = watch(
        OPEN, event("progress", JOB, "4"), b": keep-alive\n\n", RESET, REFUSED, FULL,
        OPEN, event("done", finished, "end"),
    )  # fmt: skip
    assert [job.done for job in run.emitted] == [4, 9]
    assert [call.headers.get("Last-Event-ID") for call in run.calls] == [None, "4", "4", "4"]
    assert {call.path for call in run.calls} == {"/jobs/a%2Fb/events"}
    assert run.slept == [0.5, 1, 7]


def test_waiting_has_an_end_of_its_own() -> None:
    run = Run(job_flows.watch("a", Patience(60, whole=0)), [OPEN, event("progress", JOB, "4")])
    assert isinstance(run.raised, TimedOut)
    run = Run(job_flows.watch("a", Patience(60, whole=0)), [OPEN, RESET])
    assert isinstance(run.raised, Unreachable) and run.slept == []


def test_a_failed_job_is_raised() -> None:
    problem = {"status": 500, "title": "Internal error", "detail": "it killed its engine"}
    assert isinstance(watch(OPEN, event("error", problem, "end")).raised, ServerError)


def test_a_download_that_always_breaks_at_the_same_place_is_given_up() -> None:
    file = io.BytesIO()
    script: list[Any] = [Answer(200, {}), b"{...", RESET] * 4
    flow = job_flows.download("a", file, "application/json", Patience(2.5))
    run = Run(flow, script)
    assert run.slept == [0.5, 1, 2]  # a clock that stands still: longer than 2.5 s is too long
    assert isinstance(run.raised, Unreachable)


def test_a_whole_download_is_not_fetched_again() -> None:
    file = io.BytesIO(b"all of it")
    nothing_left = Answer(416, {"content-range": "bytes */9"}, b"{}")
    run = Run(job_flows.download("a", file, "application/zip", Patience(60)), [nothing_left])
    assert run.calls[0].headers["Range"] == "bytes=9-"
    assert run.raised is None and file.getvalue() == b"all of it"


CANCELLED = {"status": 404, "title": "Not found", "detail": "there is no job 'a/b'"}


def test_a_failed_job_names_itself_and_why() -> None:
    problem = {"status": 500, "title": "Internal error", "detail": "it killed its engine"}
    raised = watch(OPEN, event("error", problem, "end")).raised
    assert isinstance(raised, JobFailed)
    assert (raised.job_id, raised.request_id) == ("a/b", "r1")
    assert str(raised) == "500 Internal error: job a/b failed: it killed its engine"


@pytest.mark.parametrize("how", ["in the stream", "while it is asked for again"])
def test_a_job_that_is_cancelled_while_it_is_watched_says_so(how: str) -> None:
    if how == "in the stream":
        run = watch(OPEN, event("progress", JOB, "4"), event("error", CANCELLED, "end"))
    else:
        gone = Answer(404, {"x-request-id": "r1"}, json.dumps(CANCELLED).encode())
        run = watch(OPEN, event("progress", JOB, "4"), RESET, gone)
    assert isinstance(run.raised, JobCancelled)
    assert (run.raised.job_id, run.raised.request_id) == ("a/b", "r1")
    assert str(run.raised) == (
        "404 Cancelled: job a/b was cancelled while this client waited for it"
    )
    again = pickle.loads(pickle.dumps(run.raised))
    assert (type(again), vars(again)) == (JobCancelled, vars(run.raised))


def test_a_job_that_was_never_seen_is_not_said_to_be_cancelled() -> None:
    raised = watch(Answer(404, {}, json.dumps(CANCELLED).encode())).raised
    assert type(raised) is NotFound
    assert raised.job_id == "a/b"
    assert raised.detail == "there is no job 'a/b'; it may have been cancelled or deleted"


def test_an_expired_job_is_gone() -> None:
    problem = {"status": 410, "title": "Gone", "detail": "job a/b has expired"}
    raised = watch(OPEN, event("error", problem, "end")).raised
    assert isinstance(raised, Gone) and raised.job_id == "a/b"


def test_whatever_is_said_of_a_job_has_its_id() -> None:
    unfinished = Answer(409, {}, b'{"title": "Conflict", "detail": "job a is running"}')
    status = Answer(200, {}, json.dumps(JOB).encode())
    raised = Run(job_flows.result("a", Patience(60)), [status, unfinished]).raised
    assert isinstance(raised, Conflict) and raised.job_id == "a"


def test_a_restart_behind_a_proxy_is_waited_for() -> None:
    gateway = Answer(502, {"content-type": "text/html"}, b"<title>502 Bad Gateway</title>")
    finished = {**JOB, "status": "finished", "done": 9}
    run = watch(
        OPEN, event("progress", JOB, "4"), b"", gateway, gateway,
        OPEN, event("done", finished, "end"),
    )  # fmt: skip
    assert [job.done for job in run.emitted] == [4, 9]
    assert run.slept == [0.5, 1, 2]


@pytest.mark.parametrize("name", ["idempotency_key", "webhook_url"])
def test_what_no_header_can_carry_is_refused_before_anything_is_sent(name: str) -> None:
    flow = job_flows.submit(SampleRequest(), Patience(60), **{name: "schlüssel\n"})
    with pytest.raises(ValueError, match=rf"^{name}: 'schlüssel\\n' is not allowed"):
        next(flow)
