"""An engine process as the system has it: how it is started, what connects it with this one, and
how it ends."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from app.wire.environment import same_modules
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import HEADER, Message, body_size, decode
from app.wire.options import Options

STOP_SECONDS = 5.0
"""Time that a process has for ending by itself."""
FILES = 16
"""Files that a start has open at once, at most."""


@dataclass(frozen=True, eq=False)
class Child:
    """A process that was started, a connection to it, and the memory that both share."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    recorder: FlightRecorder

    @property
    def is_running(self) -> bool:
        """Has the process not ended yet, as far as is known?"""
        return self.process.returncode is None

    def send(self, message: bytes) -> None:
        """Send an encoded message, unless the connection is closed."""
        if not self.writer.is_closing():
            self.writer.write(message)

    async def receive(self) -> Message | None:
        """The next message; None once the process is gone. Raises ProtocolError for what is no
        message: the process is of no more use then."""
        try:
            size = body_size(await self.reader.readexactly(HEADER.size))
            return decode(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            return None

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if self.is_running:
            self.process.kill()

    def close(self) -> None:
        """Let go of the connection, which ends the process, and of the memory."""
        self.writer.close()
        self.recorder.close()


async def start(command: Sequence[str], options: Options) -> Child:
    """Start an engine. Whatever the system refuses (files, memory, a process) is raised as it is,
    and then nothing is left of the try."""
    check_files()
    async with contextlib.AsyncExitStack() as undo:
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            recorder = FlightRecorder.create()
            undo.callback(recorder.close)
            fds = [theirs.fileno(), recorder.fd]
            # In a session of its own: Ctrl-C and signals to a group are for this process.
            process = await asyncio.create_subprocess_exec(
                *command, *map(str, fds), *options.arguments(),
                pass_fds=fds, env=same_modules(), start_new_session=True,
            )  # fmt: skip
        undo.push_async_callback(process.wait)
        undo.callback(process.kill)
        reader, writer = await asyncio.open_connection(sock=ours)
        undo.pop_all()
    return Child(process, reader, writer, recorder)


def check_files() -> None:
    """Raise OSError unless a start can open its files: where these run out in the middle of
    starting a process, uvloop leaves some of them open."""
    with contextlib.ExitStack() as files:
        for _ in range(FILES):
            files.enter_context(socket.socket(socket.AF_UNIX))


async def end(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that is about to end, and kill it if it does not. Returns its status."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
