"""What connects the pool with a running engine process, on this machine or on another."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.wire.codec import HEADER, body_size, decode
from app.wire.flight_recorder import Place
from app.wire.messages import Message


@dataclass(frozen=True)
class Death:
    """How an engine process ended: at these places of its jobs, and whether somebody outside
    killed it, such as the kernel for want of memory."""

    places: Sequence[Place]
    was_killed: bool


class Connection(Protocol):
    """One engine process, from its start to its end."""

    @property
    def pid(self) -> int:
        """The process' number on its machine."""

    @property
    def is_running(self) -> bool:
        """Has the process not ended yet, as far as is known?"""

    @property
    def oldest(self) -> int:
        """The number of the oldest running step, as `FlightRecorder.oldest` has it."""

    def send(self, message: bytes) -> None:
        """Send an encoded message, unless the connection is closed."""

    async def receive(self) -> Message | None:
        """The next message; None once the process is gone. Raises ProtocolError for what is no
        message: the process is of no more use then."""

    def kill(self) -> None:
        """Kill the process, unless it has ended."""

    def hang_up(self) -> None:
        """Say no more, which ends the process."""

    async def end(self) -> Death:
        """Wait for a process that is about to end, killed if it does not, and let go of it."""


Connect = Callable[[], Awaitable[Connection]]
"""Starts an engine process. What refuses it is raised as it is; nothing is left of the try then."""


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end of what there is to read. Raises ProtocolError."""
    try:
        size = body_size(await reader.readexactly(HEADER.size))
        return decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, OSError):
        return None
