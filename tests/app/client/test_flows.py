"""What a client does about a server that is full, away, or wrong: without a network or a clock."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.client import (
    BrokenAnswer,
    ClientError,
    InvalidRequest,
    OverLimit,
    ProblemError,
    SampleRequest,
    ServerError,
    TimedOut,
    TrajectoryRequest,
    Unavailable,
    Unreachable,
    flows,
)
from app.client.effects import Answer, Call, Emit, Flow, Read, Reply, Sleep, resume
from app.client.patience import Patience

FULL = Answer(503, {"retry-after": "7"}, b'{"title": "Not available", "detail": "full"}')
OVER = Answer(429, {"retry-after": "2"}, b'{"title": "Too much", "detail": "yours"}')
RESET = httpx.ReadError("the connection was reset")
REFUSED = httpx.ConnectError("refused")
HEADER = {"id": "a", "model": "tiny", "seed": 3, "sampler": "ddpm", "steps": 50}
OPEN = Answer(200, {"x-seed": "3", "x-request-id": "r1"})
JOB = {
    **HEADER, "kind": "sample", "status": "running", "detail": None, "total": 9, "done": 4,
    "rate": None, "left_s": None, "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-08T00:00:00Z",
}  # fmt: skip


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = picture()
SAMPLE = {
    "index": 0,
    "label": None,
    "png": base64.b64encode(PNG).decode(),
    "sha256": hashlib.sha256(PNG).hexdigest(),
}


def samples(*entries: dict[str, Any]) -> Answer:
    timing = {"queued_s": 0.0, "compute_s": 1.0}
    return Answer(200, {}, json.dumps({**HEADER, "samples": entries, "timing": timing}).encode())


def event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    id_line = "" if event_id is None else f"id: {event_id}\n"
    return f"{id_line}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def frame(t: int) -> bytes:
    return event("frame", {"index": 0, "t": t, "x_t": SAMPLE["png"], "x0_hat": SAMPLE["png"]})


class Run:
    """A flow against a script of replies: what it did, what it emitted, what it raised."""

    def __init__(self, flow: Flow[Any], script: Sequence[Reply]) -> None:
        self.calls: list[Call] = []
        self.slept: list[float] = []
        self.emitted: list[Any] = []
        self.raised: ClientError | None = None
        replies = list(script)
        reply: Reply = None
        try:
            while (effect := resume(flow, reply)) is not None:
                reply = None
                match effect:
                    case Emit(value):
                        self.emitted.append(value)
                    case Sleep(seconds):
                        self.slept.append(seconds)
                    case Call() | Read():
                        if isinstance(effect, Call):
                            self.calls.append(effect)
                        reply = replies.pop(0)
        except ClientError as raised:
            self.raised = raised
        assert not replies, "it ended before its script"


def sample(*script: Reply, seconds: float = 60) -> Run:
    return Run(flows.sample(SampleRequest(labels=(1, 2), n=2), Patience(seconds)), script)


def stream(*script: Reply) -> Run:
    return Run(flows.stream(TrajectoryRequest(), Patience(60)), script)


def watch(*script: Reply) -> Run:
    return Run(flows.watch("a/b", Patience(60)), script)


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
    run = sample(Answer(418, {}, b"short and stout"))
    assert type(run.raised) is ProblemError
    assert (run.raised.status, run.raised.detail) == (418, "short and stout")


def test_a_broken_connection_is_tried_again_and_one_never_made_is_not() -> None:
    assert sample(RESET, samples(SAMPLE)).slept == [0.5]
    run = sample(REFUSED)
    assert isinstance(run.raised, Unreachable) and "refused" in str(run.raised)
    assert isinstance(sample(httpx.ReadTimeout("slow")).raised, TimedOut)


def test_the_wait_for_an_answer_is_what_is_left_of_the_time() -> None:
    (call,) = sample(samples(SAMPLE), seconds=60).calls
    assert 59 < call.seconds <= 60
    assert call.body == {"n": 2, "first_index": 0, "sampler": "ddpm", "labels": [1, 2],
                         "guidance": 0.0}  # fmt: skip


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


def test_arrays_and_ranges_are_lists_and_wrong_values_are_left_for_the_server_to_name() -> None:
    request = TrajectoryRequest(
        n=np.int64(3),  # type: ignore[arg-type]
        labels=np.arange(3),  # type: ignore[arg-type]
        timesteps=range(2),
        guidance=np.float32(0.5),  # type: ignore[arg-type]
    )
    body = json.loads(json.dumps(request.body()))
    assert (body["n"], body["labels"], body["timesteps"]) == (3, [0, 1, 2], [0, 1])
    assert body["guidance"] == 0.5
    fractions = SampleRequest(labels=[1.5])  # type: ignore[list-item]
    assert fractions.body()["labels"] == [1.5]


def test_a_trajectory_that_is_not_an_archive_is_said() -> None:
    for content in (b"<html>", b"PK\x03\x04", b""):
        run = Run(
            flows.trajectory(TrajectoryRequest(), Patience(60)),
            [Answer(200, {"x-seed": "3"}, content)],
        )
        assert isinstance(run.raised, BrokenAnswer)


def test_a_job_that_is_submitted_twice_has_one_key() -> None:
    accepted = Answer(202, {}, json.dumps(JOB).encode())
    run = Run(flows.submit(SampleRequest(), Patience(60)), [RESET, accepted])
    first, second = (call.headers["Idempotency-Key"] for call in run.calls)
    assert first == second
    assert run.emitted[0].id == "a"


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
    run = Run(flows.watch("a", Patience(60, whole=0)), [OPEN, event("progress", JOB, "4")])
    assert isinstance(run.raised, TimedOut)
    run = Run(flows.watch("a", Patience(60, whole=0)), [OPEN, RESET])
    assert isinstance(run.raised, Unreachable) and run.slept == []


def test_a_failed_job_is_raised() -> None:
    problem = {"status": 500, "title": "Internal error", "detail": "it killed its engine"}
    assert isinstance(watch(OPEN, event("error", problem, "end")).raised, ServerError)


def test_a_download_that_always_breaks_at_the_same_place_is_given_up() -> None:
    file = io.BytesIO()
    script: list[Any] = [Answer(200, {}), b"{...", RESET] * 4
    flow = flows.download("a", file, "application/json", Patience(2.5))
    run = Run(flow, script)
    assert run.slept == [0.5, 1, 2]  # a clock that stands still: longer than 2.5 s is too long
    assert isinstance(run.raised, Unreachable)


def test_a_whole_download_is_not_fetched_again() -> None:
    file = io.BytesIO(b"all of it")
    nothing_left = Answer(416, {"content-range": "bytes */9"}, b"{}")
    run = Run(flows.download("a", file, "application/zip", Patience(60)), [nothing_left])
    assert run.calls[0].headers["Range"] == "bytes=9-"
    assert run.raised is None and file.getvalue() == b"all of it"
