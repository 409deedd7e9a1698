"""The client's operations on jobs, as flows: see `flows`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote
from uuid import uuid4

import httpx

from app.client import reading
from app.client.arguments import check_header
from app.client.calls import EVENT_STREAM, JSON, NPZ, answered, next_events, post, unreachable
from app.client.effects import Answer, Call, Emit, Flow, Part, Read
from app.client.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    ProblemError,
    RangeNotSatisfiable,
    ServerError,
    from_problem,
)
from app.client.events import Event, EventReader
from app.client.patience import Patience
from app.client.requests import SampleRequest, TrajectoryRequest, check_request
from app.client.results import Samples, Trajectories
from app.client.status import Job, Transfer

PARTIAL_CONTENT = 206
MEDIA_TYPES = {
    ".apng": "image/apng",
    ".gif": "image/gif",
    ".json": JSON,
    ".npz": NPZ,
    ".png": "image/png",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


def submit(
    request: SampleRequest,
    patience: Patience,
    idempotency_key: str | None = None,
    webhook_url: str | None = None,
) -> Flow[Job]:
    """Send either POST as a job. Sent twice, with its key, it is still one job.

    Raises ValueError for a key or an address that no header can carry.
    """
    check_request(request, "submit")
    for name, value in (("idempotency_key", idempotency_key), ("webhook_url", webhook_url)):
        if value is not None:
            check_header(name, value)
    is_trajectory = isinstance(request, TrajectoryRequest)
    headers = {
        "Prefer": "respond-async",
        "Idempotency-Key": idempotency_key or uuid4().hex,
        **({"X-Webhook-URL": webhook_url} if webhook_url else {}),
    }
    path = "/denoise-trajectory" if is_trajectory else "/sample"
    answer = yield from answered(post(path, request, headers), patience)
    yield Emit(reading.read_job(answer.content))


def status(job_id: str, patience: Patience) -> Flow[Job]:
    """GET /jobs/{id}."""
    yield Emit((yield from _status(job_id, patience)))


def watch(job_id: str, patience: Patience) -> Flow[Job]:
    """GET /jobs/{id}/events: the job whenever it got on, the last time finished.

    After a broken connection it continues after the last event. Raises JobFailed, Gone
    when it expired, JobCancelled, TimedOut after the whole time, NotFound when it is not there.
    """
    reader, was_reached = EventReader(), False
    while True:
        headers = {"Accept": EVENT_STREAM}
        if reader.last_id:
            headers["Last-Event-ID"] = reader.last_id
        call = _call("GET", job_id, "/events", headers, stream=True)
        try:
            answer = yield from answered(call, patience, was_reached)
        except NotFound as error:
            if was_reached:
                raise _cancelled(job_id, error.request_id) from error
            raise
        was_reached, reader = True, EventReader(reader.last_id)
        try:
            yield from _states(job_id, answer, reader, patience)
            return
        except httpx.TransportError as error:
            yield from patience.wait(unreachable(error))


def result(job_id: str, patience: Patience) -> Flow[Samples | Trajectories]:
    """GET /jobs/{id}/result, in memory."""
    job = yield from _status(job_id, patience)
    accept = NPZ if job.kind == "denoise-trajectory" else JSON
    call = _call("GET", job_id, "/result", {"Accept": accept})
    answer = yield from answered(call, patience)
    if job.kind == "sample":
        yield Emit(reading.read_samples(answer.content))
    else:
        yield Emit(reading.read_trajectories(answer.content, job.seed))


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
        call = _call("GET", job_id, "/result", headers, stream=True)
        try:
            answer = yield from answered(call, patience, was_reached)
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
            yield from patience.wait(unreachable(error))


def cancel(job_id: str, patience: Patience) -> Flow[None]:
    """DELETE /jobs/{id}."""
    yield from answered(_call("DELETE", job_id), patience)
    yield Emit(None)


def media_type_of(path: Path) -> str:
    """Choose the media type by the file's suffix. Raises ValueError for an unknown one."""
    try:
        return MEDIA_TYPES[path.suffix.lower()]
    except KeyError:
        allowed = ", ".join(MEDIA_TYPES)
        raise ValueError(f"path: {path.name!r} is not allowed: it must end in {allowed}") from None


def _states(job_id: str, answer: Answer, reader: EventReader, patience: Patience) -> Flow[Job]:
    """Emit an answer's job states up to its `done` event. Raises TransportError when the stream
    breaks, TimedOut after the whole time."""
    while True:
        events = yield from next_events(reader)
        patience.reset()  # by comments too: a job that waits long for its turn sends nothing else
        for event in events:
            if event.name == "error":
                raise _ended(job_id, event, answer)
            yield Emit(reading.read_job(event.data))
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


def _status(job_id: str, patience: Patience) -> Part[Job]:
    answer = yield from answered(_call("GET", job_id), patience)
    return reading.read_job(answer.content)


def _ended(job_id: str, event: Event, answer: Answer) -> ProblemError:
    """The error for a stream's `error` event: how the job ended without a result."""
    request_id = answer.headers.get("x-request-id")
    problem = from_problem(reading.read_object(event.data), request_id)
    problem.job_id = job_id
    match problem:
        case NotFound():
            return _cancelled(job_id, request_id)
        case ServerError(status=status, title=title, detail=why):
            detail = f"job {job_id} failed: {why}"
            return JobFailed(status, title, detail, request_id=request_id, job_id=job_id)
        case _:
            return problem


def _cancelled(job_id: str, request_id: str | None) -> JobCancelled:
    detail = f"job {job_id} was cancelled while this client waited for it"
    return JobCancelled(404, "Cancelled", detail, request_id=request_id, job_id=job_id)


def _call(
    method: str,
    job_id: str,
    below: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    stream: bool = False,
) -> Call:
    """A call of a path at or below the job's."""
    path = f"/jobs/{quote(job_id, safe='')}{below}"
    return Call(method, path, headers or {}, stream=stream, job_id=job_id)
