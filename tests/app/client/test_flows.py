"""What a client does about images and streams: it asks again, and yields nothing twice."""

import pytest

from app.client import BrokenAnswer, ServerError, TrajectoryRequest, flows
from app.client.effects import Answer
from app.client.patience import Patience
from tests.app.client.script import (
    OPEN,
    REFUSED,
    RESET,
    SAMPLE,
    Run,
    event,
    frame,
    sample,
    samples,
    stream,
)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, {}, b"<html>"), "not JSON"),
        (Answer(200, {}, b"[1]"), "not a JSON object"),
        (Answer(200, {}, b"{}"), "not a list of samples"),
        (samples({**SAMPLE, "sha256": "0"}), "damaged"),
    ],
)
def test_an_answer_that_is_not_one_is_said(answer: Answer, message: str) -> None:
    run = sample(answer)
    assert isinstance(run.raised, BrokenAnswer)
    assert message in str(run.raised)


def test_a_trajectory_that_is_not_an_archive_is_said() -> None:
    for content in (b"<html>", b"PK\x03\x04", b""):
        run = Run(
            flows.trajectory(TrajectoryRequest(), Patience(60)),
            [Answer(200, {"x-seed": "3"}, content)],
        )
        assert isinstance(run.raised, BrokenAnswer)


def test_a_stream_that_breaks_is_asked_for_again_with_its_seed_and_told_once() -> None:
    both = frame(50) + frame(40)
    run = stream(OPEN, both[:-10], RESET, REFUSED, OPEN, both, frame(0), event("done", {}))
    assert [f.t for f in run.emitted] == [50, 40, 0]
    assert [call.body and call.body.get("seed") for call in run.calls] == [None, 3, 3]
    assert run.slept == [0.5, 1]


def test_a_stream_without_its_last_event_is_broken() -> None:
    run = stream(OPEN, frame(50), b"", OPEN, event("done", {}))
    assert len(run.calls) == 2


def test_a_stream_that_the_server_ends_for_want_of_room_is_asked_for_again() -> None:
    problem = {"status": 503, "title": "Not available", "detail": "shutting down"}
    run = stream(OPEN, frame(50), event("error", problem), OPEN, frame(50), event("done", {}))
    assert [f.t for f in run.emitted] == [50]
    assert run.slept == [0.5]


def test_an_error_in_a_stream_is_raised() -> None:
    problem = {"status": 500, "title": "Internal error", "detail": "NaN in step 3"}
    run = stream(OPEN, frame(50), event("error", problem))
    assert isinstance(run.raised, ServerError)
    assert (run.raised.detail, run.raised.request_id) == ("NaN in step 3", "r1")
