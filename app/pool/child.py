"""An engine process as the system has it: how it is started, what connects it with this one, and
how it ends."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from app.pool.connection import Connect, Connection, Death, read_message
from app.wire.environment import same_modules
from app.wire.flight_recorder import FlightRecorder
from app.wire.messages import Message
from app.wire.options import Options

COMMAND = (sys.executable, "-P", "-m", "app.engine")
"""What starts an engine, before its arguments. Without -P it would be another `app`, where one lies
in the working directory."""
STOP_SECONDS = 5.0
"""Time that a process has for ending by itself."""
FILES = 16
"""Files that a start has open at once, at most."""


@dataclass(eq=False)
class Child:
    """A process that was started on this machine, a connection to it, and the memory that both
    share."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    recorder: FlightRecorder
    was_killed_here: bool = False

    @property
    def pid(self) -> int:
        """The process' number."""
        return self.process.pid

    @property
    def oldest(self) -> int:
        """The number of the oldest running step."""
        return self.recorder.oldest

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
        return await read_message(self.reader)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if self.is_running:
            self.was_killed_here = True
            self.process.kill()

    def hang_up(self) -> None:
        """Close the connection, which ends the process."""
        self.writer.close()

    async def end(self) -> Death:
        """Wait for a process that is about to end, killed if it does not, and let go of it."""
        was_killed = await end(self.process) == -signal.SIGKILL and not self.was_killed_here
        places = self.recorder.read()
        self.writer.close()
        self.recorder.close()
        return Death(places, was_killed)


def on_this_machine(options: Options, command: Sequence[str] = COMMAND) -> Connect:
    """What starts engines here."""

    async def connect() -> Connection:
        return await start(command, options)

    return connect


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
