"""The server's end of a connection to an engine process that a replica holds."""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.cluster.replica import Beat
from app.pool.connection import Death, read_message
from app.tasks import end
from app.wire.messages import Message
from app.wire.options import Options

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

log = logging.getLogger("ddpm.cluster")

OPEN_SECONDS = 30.0
"""Time that a replica has for starting an engine process."""
TELL_SECONDS = 1.0
"""Time after which the replica is told something, though there is nothing to say."""


class ReplicaLink:
    """A `Connection` to an engine process of a replica.

    It is lost when Ray says so, and when the replica is silent for `silence_seconds`: Ray takes
    much longer to notice one that hangs. The process ends with it.
    """

    def __init__(
        self,
        engines: "DeploymentHandle[Any]",
        replica: str,
        silence_seconds: float,
        backlog_seconds: Callable[[], float],
        is_there: Callable[[], bool] = lambda: True,
    ) -> None:
        """`backlog_seconds` tells the work left to do there, for Ray's autoscaler; `is_there`,
        whether Ray has the replica: nothing is told to one that leaves."""
        self._engines = engines
        self._replica = replica
        self._silence_seconds = silence_seconds
        self._backlog_seconds = backlog_seconds
        self._is_there = is_there
        self._session = uuid4().hex
        self._beat = Beat(0, 0, ())
        self._reader = asyncio.StreamReader()
        self._outbox = bytearray()
        self._has_news = asyncio.Event()
        self._is_open = asyncio.Event()
        self._is_running = True
        self._was_killed_here = False
        self._failure = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, options: Options) -> None:
        """Have the replica start an engine process. Raises ConnectionError where it does not."""
        self._tasks = [apart(self._listen(options)), apart(self._talk())]
        try:
            await self._is_open.wait()
            if not self._is_running:
                raise ConnectionError(self._failure)
        except BaseException:
            await end(self._tasks)
            raise

    @property
    def pid(self) -> int:
        """The process' number on its machine."""
        return self._beat.pid

    @property
    def is_running(self) -> bool:
        """Has the process not ended yet, as far as is known?"""
        return self._is_running

    @property
    def oldest(self) -> int:
        """The number of the oldest running step, as of the last beat."""
        return self._beat.oldest

    def send(self, message: bytes) -> None:
        """Send an encoded message, together with others that come at once."""
        self._outbox += message
        self._has_news.set()

    async def receive(self) -> Message | None:
        """The next message; None once the process or the replica is gone. Raises ProtocolError."""
        return await read_message(self._reader)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        self._was_killed_here = self._is_running
        self.hang_up()

    def hang_up(self) -> None:
        """End the call, and with it the process."""
        for task in self._tasks:
            task.cancel()

    async def end(self) -> Death:
        """Let go of the process. Where its replica was lost, its places are those of the last
        beat."""
        await end(self._tasks)
        was_killed = self._beat.was_killed if self._beat.is_over else not self._was_killed_here
        return Death(self._beat.places, was_killed)

    async def _listen(self, options: Options) -> None:
        """Read beats to the last one."""
        call = self._engines.options(method_name="connect", stream=True)
        beats = call.remote(self._session, options, replica=self._replica)
        seconds = OPEN_SECONDS
        try:
            while not self._beat.is_over:
                async with asyncio.timeout(seconds):
                    self._beat = await anext(beats)
                self._reader.feed_data(self._beat.data)
                self._is_open.set()
                seconds = self._silence_seconds
        except Exception as error:  # Ray's, gRPC's, the replica's: whatever it is, it is lost
            self._note_loss(error)
        finally:
            beats.cancel()  # nothing else ends the call there
            self._close()

    async def _talk(self) -> None:
        """Pass on what is to be said, all at once, and say something from time to time."""
        await self._is_open.wait()
        tell = self._engines.options(method_name="tell")
        try:
            while self._is_running:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TELL_SECONDS):
                        await self._has_news.wait()
                self._has_news.clear()
                if not self._is_there():  # Ray would start a replica for what is told to none
                    continue
                messages, self._outbox = bytes(self._outbox), bytearray()
                call = tell.remote(
                    self._session, messages, self._backlog_seconds(), replica=self._replica
                )
                try:
                    async with asyncio.timeout(self._silence_seconds):
                        await call
                except BaseException:
                    call.cancel()  # else it would wait for its replica, and Ray start one for it
                    raise
        except Exception as error:
            if self._is_running:
                self._note_loss(error)
                self._tasks[0].cancel()

    def _note_loss(self, error: Exception) -> None:
        first_line = next(iter(str(error).splitlines()), "")
        what = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
        if isinstance(error, TimeoutError):
            what = "it is silent"
        self._failure = f"replica {self._replica}: {what}"
        log.warning("the connection to replica %s is lost: %s", self._replica, what)

    def _close(self) -> None:
        self._is_running = False
        self._reader.feed_eof()
        self._is_open.set()


def apart(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run calls of Ray Serve in a context of their own.

    In a request's context all calls share that request's id, and of two at once the router never
    places the second; and they are cancelled when its client leaves.
    """
    return asyncio.create_task(work, context=contextvars.Context())
