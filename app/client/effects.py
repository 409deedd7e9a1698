"""What a flow asks of a client: the effects, and how a flow is resumed with each reply.

A flow is a generator. It yields `Call`, `Read` and `Sleep`; it is sent each reply, or httpx's
TransportError is thrown into it. It yields its results as `Emit`.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

T = TypeVar("T")

STALL_SECONDS = 60.0
"""A stream that sends no byte for this long is broken: the server sends a comment every 15 s."""


@dataclass(frozen=True)
class Call:
    """Sends a request; the reply is an Answer.

    `seconds` is the longest time without a byte. The content of a `stream` is read with `Read`,
    unless its status is an error. `job_id` is the job's, where the call is about one.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    stream: bool = False
    seconds: float = STALL_SECONDS
    job_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """The reply to a Call. The headers' names are in lower case. `address` is what was asked, as
    errors name it."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    address: str = "the server"


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
Reply = Answer | bytes | httpx.TransportError | None
"""What an effect gave: of a Call an Answer, of a Read bytes, of either an error, else None."""
Part = Generator[Effect, Any, T]
"""A part of a flow. It returns a T and emits nothing."""
Flow = Generator[Effect | Emit[T], Any, None]
"""An operation of the client. It emits its results."""


def resume(flow: Flow[T], reply: Reply) -> Effect | Emit[T] | None:
    """Send the reply to the flow, or throw it if it is an error. Returns the flow's next effect,
    None at its end."""
    try:
        if isinstance(reply, httpx.TransportError):
            return flow.throw(reply)
        return flow.send(reply)
    except StopIteration:
        return None
