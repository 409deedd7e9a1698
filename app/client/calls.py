"""What all flows have in common: a call that is made until it is answered, and its failures."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import httpx

from app.client.arguments import shown
from app.client.effects import STALL_SECONDS, Answer, Call, Part, Read
from app.client.errors import (
    BrokenAnswer,
    ClientError,
    NotFound,
    ProblemError,
    TimedOut,
    Unreachable,
    from_answer,
)
from app.client.events import Event, EventReader
from app.client.patience import Patience

RETRIED = (429, 503)
"""Statuses that say: try again later."""
FROM_PROXIES = (502, 504)
"""Statuses of a proxy whose server does not answer: one that did a moment ago is waited for."""
NO_SUCH_PATH = (404, 405)
"""What a program that is not the service says to its paths."""
NOT_THERE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ProxyError)
"""Errors that are final when the server has never answered: its address is probably wrong."""
EVENT_STREAM = "text/event-stream"
JSON = "application/json"
NPZ = "application/x-npz"


def answered(call: Call, patience: Patience, was_reached: bool = False) -> Part[Answer]:
    """Perform a call until its answer has a status of 2xx, trying again while the server is full or
    cannot be reached.

    A server that was never reached is not waited for: its address is probably wrong. One that was,
    and is gone, may be starting again. Every request may be sent twice: samples depend on nothing
    but their request, and jobs have a key. Raises a ClientError.
    """
    while True:
        # A silent stream is broken long before the caller loses patience.
        seconds = min(patience.left(), STALL_SECONDS) if call.stream else patience.left()
        try:
            answer: Answer = yield replace(call, seconds=seconds)
        except httpx.TransportError as error:
            failure: ClientError = unreachable(error)
            if isinstance(error, NOT_THERE) and not was_reached:
                raise failure from error
        else:
            retried = (*RETRIED, *FROM_PROXIES) if was_reached else RETRIED
            if answer.status in range(200, 300):
                _check_type(call, answer)
                return answer
            failure = _refused(call, answer)
            if answer.status not in retried:
                raise failure
        was_reached = True
        yield from patience.wait(failure)


class Body(Protocol):
    """A request that is sent as a JSON object."""

    def body(self) -> dict[str, Any]:
        """Build it. Raises ValueError or OSError for what cannot be sent."""


def post(
    path: str,
    request: Body,
    headers: Mapping[str, str] | None = None,
) -> Call:
    """The call that sends a request; without `headers` it asks for JSON."""
    return Call("POST", path, headers or {"Accept": JSON}, request.body())


def seed_of(answer: Answer) -> int:
    """The seed that an answer names. Raises BrokenAnswer when it names none."""
    try:
        return int(answer.headers["x-seed"])
    except (KeyError, ValueError) as error:
        raise BrokenAnswer("the answer does not name its seed (X-Seed)") from error


def next_events(reader: EventReader) -> Part[list[Event]]:
    """Read the events that the next block completes. Raises TransportError at the stream's end,
    which a `done` or `error` event should have announced."""
    block: bytes = yield Read()
    if not block:
        raise httpx.RemoteProtocolError("the stream ended too early")
    return reader.feed(block)


def unreachable(error: httpx.TransportError) -> ClientError:
    """What the caller is told of a connection that was not made, or broke: the address, and what to
    try."""
    try:
        address = shown(error.request.url.join("/")).removesuffix("/")
    except RuntimeError:  # httpx's, where it does not know the request
        address = "the server"
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return TimedOut(f"no connection to {address} in time: is it the right host and port?")
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{address} did not answer in time; `timeout` is how long a call may take")
    if not isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return Unreachable(f"the connection to {address} broke: {text}")
    return Unreachable(f"{address} cannot be reached: {_reason(error, text)}")


def _reason(error: httpx.TransportError, text: str) -> str:
    """Why no connection was made, and what to try; `text` is what the error says."""
    if isinstance(error, httpx.ProxyError):
        return f"the proxy of HTTP_PROXY or HTTPS_PROXY says {text!r}; name the host in NO_PROXY"
    for cause in _causes(error):
        match cause:
            case ConnectionRefusedError():
                return "nothing listens there; start a server (`ddpm serve`), or correct the port"
            case socket.gaierror():
                return "no host has this name"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message}"
            case ssl.SSLError():
                return "it does not speak https; try http://"
    return text


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The errors that led to this one, from the last to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refused(call: Call, answer: Answer) -> ProblemError:
    """The error for an answer other than 2xx."""
    failure = from_answer(answer.status, answer.headers, answer.content, answer.address)
    failure.job_id = call.job_id
    if isinstance(failure, NotFound) and call.job_id is not None:
        failure.detail += "; it may have been cancelled or deleted"
    elif answer.status in NO_SUCH_PATH and not _may_be_missing(call, answer):
        failure.detail = f"there is no ddpm server at {answer.address.removesuffix(call.path)}"
    return failure


def _may_be_missing(call: Call, answer: Answer) -> bool:
    """Does the service itself say that there is no such thing? It has all paths but those."""
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return is_problem and call.path.startswith("/models/")


def _check_type(call: Call, answer: Answer) -> None:
    """Raise BrokenAnswer for a success in another media type than was asked for: a web page."""
    wanted = call.headers.get("Accept", JSON)
    given = answer.headers.get("content-type", wanted).partition(";")[0].strip()
    if given != wanted:
        raise BrokenAnswer(
            f"{answer.address} answered with {given}, not {wanted}: another program has this "
            "address, or a proxy changes the answers"
        )
