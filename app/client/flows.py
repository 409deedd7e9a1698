"""The client's operations as generators of effects, without any input or output.

A flow yields `Call`, `Read` and `Sleep`; it is sent each reply, or httpx's TransportError is thrown
into it. It yields its results as `Emit`. `Client` and `AsyncClient` only perform the effects, so
that retries and resuming are written once, and tested without a network or a clock.
"""

import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from app.client import results
from app.client.errors import (
    BrokenAnswer,
    ClientError,
    OverLimit,
    ProblemError,
    RangeNotSatisfiable,
    TimedOut,
    Unavailable,
    Unreachable,
    from_answer,
    from_problem,
)
from app.client.events import Event, EventReader
from app.client.requests import SampleRequest, TrajectoryRequest
from app.client.results import Frame, Job, Model, Samples, Trajectories, Transfer

T = TypeVar("T")

STALL_SECONDS = 60.0
"""A stream that sends no byte for this long is broken: the server sends a comment every 15 s."""
FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 15.0
"""Pauses between tries where the server gives no Retry-After; each is twice the one before."""
MIN_SECONDS = 0.001
RETRIED = (429, 503)
NOT_THERE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout)
"""Errors that are final when the server has never answered: its address is probably wrong."""
NO_CONTENT = 204
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


@dataclass(frozen=True)
class Call:
    """Sends a request; the reply is an Answer.

    `seconds` is the longest time without a byte. The content of a `stream` is read with `Read`,
    unless its status is an error.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    stream: bool = False
    seconds: float = STALL_SECONDS


@dataclass(frozen=True)
class Answer:
    """The reply to a Call. The headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True)
class Read:
    """Reads on in the last Call's stream; the reply is a block of bytes, b"" at the end."""


@dataclass(frozen=True)
class Sleep:
    """Waits for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hands a result to the caller."""

    value: T


Effect = Call | Read | Sleep
Part = Generator[Effect, Any, T]
"""A part of a flow. It returns a T and emits nothing."""
Flow = Generator[Effect | Emit[T], Any, None]


def resume(
    flow: Flow[T], reply: object, error: httpx.TransportError | None
) -> Effect | Emit[T] | None:
    """Send the reply or throw the error into the flow. Returns its next effect, None at the end."""
    try:
        return flow.send(reply) if error is None else flow.throw(error)
    except StopIteration:
        return None


class Patience:
    """Decides how long to keep trying: `seconds` since something new last came, and `whole` seconds
    in all, if given."""

    def __init__(self, seconds: float, whole: float | None = None) -> None:
        self.seconds = seconds
        self._end = math.inf if whole is None else time.monotonic() + whole
        self.reset()

    def reset(self) -> None:
        """Start again, because something new came."""
        self._until = time.monotonic() + self.seconds
        self._pause = FIRST_PAUSE_SECONDS

    def left(self) -> float:
        """Return the seconds that are left. Never 0, which httpx would read as no limit."""
        return max(min(self._until, self._end) - time.monotonic(), MIN_SECONDS)

    def check(self) -> None:
        """Raise TimedOut when the whole time is over."""
        if time.monotonic() >= self._end:
            raise TimedOut("the job was not finished in the time given")

    def wait(self, failure: ClientError) -> Part[None]:
        """Sleep until the next try. Raises the failure when no time is left for one."""
        seconds = self._pause
        if isinstance(failure, ProblemError) and failure.retry_after is not None:
            seconds = failure.retry_after
        if seconds > self.left():
            raise failure
        self._pause = min(2 * self._pause, LAST_PAUSE_SECONDS)
        yield Sleep(seconds)


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
        was_reached, reader = True, EventReader()
        request = replace(request, seed=_seed(answer))
        try:
            while True:
                for event in (yield from _events(reader)):
                    if event.name == "done":
                        return
                    if event.name == "error":
                        raise _problem(event, answer)
                    frame = results.read_frame(event.data, _seed(answer))
                    if (frame.index, frame.t) not in known:
                        known.add((frame.index, frame.t))
                        patience.reset()
                        yield Emit(frame)
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
    last_id, was_reached = None, False
    while True:
        headers = {"Accept": EVENT_STREAM, **({"Last-Event-ID": last_id} if last_id else {})}
        call = Call("GET", _place(job_id, "/events"), headers, stream=True)
        answer = yield from _answered(call, patience, was_reached)
        was_reached, reader = True, EventReader()
        try:
            while True:
                events = yield from _events(reader)
                patience.reset()
                for event in events:
                    if event.name == "error":
                        raise _problem(event, answer)
                    last_id = event.id
                    yield Emit(results.read_job(event.data))
                    if event.name == "done":
                        return
                patience.check()
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
    furthest, was_reached = 0, False
    while True:
        start = file.seek(0, 2)
        headers = {"Accept": media_type}
        if start:
            headers["Range"] = f"bytes={start}-"
        call = Call("GET", _place(job_id, "/result"), headers, stream=True)
        try:
            answer = yield from _answered(call, patience, was_reached)
        except RangeNotSatisfiable:  # there is nothing after its end
            return
        was_reached = True
        if answer.status != PARTIAL_CONTENT:
            file.truncate(start := 0)
            file.seek(0)
        total = _total(answer, start)
        try:
            while block := (yield Read()):
                start += file.write(block)
                if start > furthest:
                    furthest = start
                    patience.reset()
                yield Emit(Transfer(start, total))
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


def _total(answer: Answer, start: int) -> int | None:
    length = answer.headers.get("content-length", "")
    return start + int(length) if length.isdecimal() else None


def _problem(event: Event, answer: Answer) -> ProblemError:
    return from_problem(results.read_object(event.data), answer.headers.get("x-request-id"))


def _unreachable(error: httpx.TransportError) -> ClientError:
    if isinstance(error, httpx.TimeoutException):
        return TimedOut("the server did not answer in time")
    return Unreachable(f"no connection to the server: {error or type(error).__name__}")
