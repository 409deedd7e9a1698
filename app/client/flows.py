"""The client's operations as flows, which are generators of effects without input or output.

`Client` and `AsyncClient` only perform the effects. So retries and resuming are written once, and
tested without a network or a clock.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote
from uuid import uuid4

import httpx

from app.client import results
from app.client.effects import STALL_SECONDS, Answer, Call, Emit, Flow, Part, Read
from app.client.errors import (
    BrokenAnswer,
    ClientError,
    OverLimit,
    RangeNotSatisfiable,
    TimedOut,
    Unavailable,
    Unreachable,
    from_answer,
    from_problem,
)
from app.client.events import Event, EventReader
from app.client.patience import Patience
from app.client.requests import SampleRequest, TrajectoryRequest
from app.client.results import Frame, Job, Model, Samples, Trajectories, Transfer

RETRIED = (429, 503)
"""Statuses that say: try again later."""
NOT_THERE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout)
"""Errors that are final when the server has never answered: its address is probably wrong."""
PARTIAL_CONTENT = 206
NPZ = "application/x-npz"
EVENT_STREAM = "text/event-stream"
MEDIA_TYPES = {
    ".apng": "image/apng",
    ".gif": "image/gif",
    ".json": "application/json",
    ".npz": NPZ,
    ".png": "image/png",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


def model(patience: Patience) -> Flow[Model]:
    """GET /model."""
    answer = yield from _answered(Call("GET", "/model"), patience)
    yield Emit(results.read_model(answer.content))


def sample(request: SampleRequest, patience: Patience) -> Flow[Samples]:
    """POST /sample."""
    answer = yield from _answered(_post("/sample", request), patience)
    yield Emit(results.read_samples(answer.content))


def trajectory(request: TrajectoryRequest, patience: Patience) -> Flow[Trajectories]:
    """POST /denoise-trajectory, as one answer."""
    call = _post("/denoise-trajectory", request, {"Accept": NPZ})
    answer = yield from _answered(call, patience)
    yield Emit(results.read_trajectories(answer.content, _seed(answer)))


def stream(request: TrajectoryRequest, patience: Patience) -> Flow[Frame]:
    """POST /denoise-trajectory, each frame as it arrives.

    After a broken connection the request is sent again, with the seed that the first answer named:
    the frames are the same, and those that are known already are left out.
    """
    known: set[tuple[int, int]] = set()
    was_reached = False
    while True:
        post = _post("/denoise-trajectory", request, {"Accept": EVENT_STREAM})
        answer = yield from _answered(replace(post, stream=True), patience, was_reached)
        was_reached = True
        request = replace(request, seed=_seed(answer))
        try:
            yield from _new_frames(answer, known, patience)
            return
        except httpx.TransportError as error:
            yield from patience.wait(_unreachable(error))
        except (OverLimit, Unavailable) as error:  # the server ends it: full, or shutting down
            yield from patience.wait(error)


def submit(
    request: SampleRequest,
    patience: Patience,
    idempotency_key: str | None = None,
    webhook_url: str | None = None,
) -> Flow[Job]:
    """Send either POST as a job. Sent twice, with its key, it is still one job."""
    is_trajectory = isinstance(request, TrajectoryRequest)
    headers = {
        "Prefer": "respond-async",
        "Idempotency-Key": idempotency_key or uuid4().hex,
        **({"X-Webhook-URL": webhook_url} if webhook_url else {}),
    }
    path = "/denoise-trajectory" if is_trajectory else "/sample"
    answer = yield from _answered(_post(path, request, headers), patience)
    yield Emit(results.read_job(answer.content))


def status(job_id: str, patience: Patience) -> Flow[Job]:
    """GET /jobs/{id}."""
    yield Emit((yield from _status(job_id, patience)))


def watch(job_id: str, patience: Patience) -> Flow[Job]:
    """GET /jobs/{id}/events: the job whenever it got on, the last time finished.

    After a broken connection it continues after the last event. Raises ServerError when the job
    failed, Gone when it expired, NotFound when it was cancelled, TimedOut after the whole time.
    """
    reader, was_reached = EventReader(), False
    while True:
        headers = {"Accept": EVENT_STREAM}
        if reader.last_id:
            headers["Last-Event-ID"] = reader.last_id
        call = Call("GET", _place(job_id, "/events"), headers, stream=True)
        answer = yield from _answered(call, patience, was_reached)
        was_reached, reader = True, EventReader(reader.last_id)
        try:
            yield from _states(answer, reader, patience)
            return
        except httpx.TransportError as error:
            yield from patience.wait(_unreachable(error))


def result(job_id: str, patience: Patience) -> Flow[Samples | Trajectories]:
    """GET /jobs/{id}/result, in memory."""
    job = yield from _status(job_id, patience)
    accept = NPZ if job.kind == "denoise-trajectory" else "application/json"
    call = Call("GET", _place(job_id, "/result"), {"Accept": accept})
    answer = yield from _answered(call, patience)
    if job.kind == "sample":
        yield Emit(results.read_samples(answer.content))
    else:
        yield Emit(results.read_trajectories(answer.content, job.seed))


def download(job_id: str, file: BinaryIO, media_type: str, patience: Patience) -> Flow[Transfer]:
    """GET /jobs/{id}/result into a file, continuing where the file ends; emits its progress after
    each block.

    What the file has already must be of the same result. Where the server offers no ranges, for
    pictures and JSON, a broken download starts again.
    """
    was_reached = False
    while True:
        start = file.seek(0, os.SEEK_END)
        headers = {"Accept": media_type}
        if start:
            headers["Range"] = f"bytes={start}-"
        call = Call("GET", _place(job_id, "/result"), headers, stream=True)
        try:
            answer = yield from _answered(call, patience, was_reached)
        except RangeNotSatisfiable:  # the file is complete already
            return
        was_reached = True
        if answer.status != PARTIAL_CONTENT:  # no ranges here, or the file was empty
            file.truncate(start := 0)
            file.seek(0)
        try:
            yield from _save(answer, start, file, patience)
            return
        except httpx.TransportError as error:
            yield from patience.wait(_unreachable(error))


def cancel(job_id: str, patience: Patience) -> Flow[None]:
    """DELETE /jobs/{id}."""
    yield from _answered(Call("DELETE", _place(job_id)), patience)
    yield Emit(None)


def media_type_of(path: Path) -> str:
    """Choose the media type by the file's suffix. Raises ValueError for an unknown one."""
    try:
        return MEDIA_TYPES[path.suffix.lower()]
    except KeyError:
        allowed = ", ".join(MEDIA_TYPES)
        raise ValueError(f"path: {path.name!r} is not allowed: it must end in {allowed}") from None


def _answered(call: Call, patience: Patience, was_reached: bool = False) -> Part[Answer]:
    """Perform a call until its answer has a status of 2xx, trying again while the server is full or
    cannot be reached.

    A server that was never reached is not waited for: its address is probably wrong. Every request
    may be sent twice: samples depend on nothing but their request, and jobs have a key.
    """
    while True:
        # A silent stream is broken long before the caller loses patience.
        seconds = min(patience.left(), STALL_SECONDS) if call.stream else patience.left()
        try:
            answer: Answer = yield replace(call, seconds=seconds)
        except httpx.TransportError as error:
            failure: ClientError = _unreachable(error)
            if isinstance(error, NOT_THERE) and not was_reached:
                raise failure from error
        else:
            if answer.status in range(200, 300):
                return answer
            failure = from_answer(answer.status, answer.headers, answer.content)
            if answer.status not in RETRIED:
                raise failure
        yield from patience.wait(failure)


def _new_frames(answer: Answer, known: set[tuple[int, int]], patience: Patience) -> Flow[Frame]:
    """Emit an answer's frames up to its `done` event, and add each to those `known` by index and t;
    what is known already is left out. Raises TransportError when the stream breaks."""
    reader, seed = EventReader(), _seed(answer)
    while True:
        for event in (yield from _events(reader)):
            _check(event, answer)
            if event.name == "done":
                return
            frame = results.read_frame(event.data, seed)
            if (frame.index, frame.t) not in known:
                known.add((frame.index, frame.t))
                patience.reset()
                yield Emit(frame)


def _states(answer: Answer, reader: EventReader, patience: Patience) -> Flow[Job]:
    """Emit an answer's job states up to its `done` event. Raises TransportError when the stream
    breaks, TimedOut after the whole time."""
    while True:
        events = yield from _events(reader)
        patience.reset()  # by comments too: a job that waits long for its turn sends nothing else
        for event in events:
            _check(event, answer)
            yield Emit(results.read_job(event.data))
            if event.name == "done":
                return
        patience.check()


def _save(answer: Answer, start: int, file: BinaryIO, patience: Patience) -> Flow[Transfer]:
    """Append an answer's blocks to the file, which has `start` bytes. Raises TransportError when
    the stream breaks."""
    length = answer.headers.get("content-length", "")
    total = start + int(length) if length.isdecimal() else None
    done = start
    while block := (yield Read()):
        done += file.write(block)
        patience.reached(done)
        yield Emit(Transfer(done, total))


def _events(reader: EventReader) -> Part[list[Event]]:
    """Read the events that the next block completes. Raises TransportError at the stream's end,
    which a `done` or `error` event should have announced."""
    block: bytes = yield Read()
    if not block:
        raise httpx.RemoteProtocolError("the stream ended too early")
    return reader.feed(block)


def _status(job_id: str, patience: Patience) -> Part[Job]:
    answer = yield from _answered(Call("GET", _place(job_id)), patience)
    return results.read_job(answer.content)


def _post(path: str, request: SampleRequest, headers: Mapping[str, str] | None = None) -> Call:
    return Call("POST", path, headers or {"Accept": "application/json"}, request.body())


def _place(job_id: str, below: str = "") -> str:
    return f"/jobs/{quote(job_id, safe='')}{below}"


def _seed(answer: Answer) -> int:
    try:
        return int(answer.headers["x-seed"])
    except (KeyError, ValueError) as error:
        raise BrokenAnswer("the answer does not name its seed (X-Seed)") from error


def _check(event: Event, answer: Answer) -> None:
    """Raise the problem that an `error` event tells of."""
    if event.name == "error":
        request_id = answer.headers.get("x-request-id")
        raise from_problem(results.read_object(event.data), request_id)


def _unreachable(error: httpx.TransportError) -> ClientError:
    if isinstance(error, httpx.TimeoutException):
        return TimedOut("the server did not answer in time")
    return Unreachable(f"no connection to the server: {error or type(error).__name__}")
