"""A replica of the deployment `engines`: engine processes on its machine, one for each server that
is connected. It passes bytes on and knows nothing of jobs or models."""

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.pool.child import COMMAND, Child, start
from app.wire.flight_recorder import Place
from app.wire.options import AUTO, Options
from diffusion.cores import available_cores

BEAT_SECONDS = 0.5
"""Time after which a replica says something, though the engine has said nothing."""
LEASE_SECONDS = 15.0
"""Time after which a replica ends the engine process of a server that says nothing any more."""
BLOCK_BYTES = 1 << 20
"""Bytes in one beat, at most: what a step has made goes in one."""


class Beat(NamedTuple):
    """The engine process lives, or has ended: then `was_killed` says whether by somebody outside.

    `data` are bytes that the engine has sent since the last beat, `oldest` is the number of its
    oldest running step, and `places` are where its jobs are, so that it is known what it did even
    when nothing is left of its machine.
    """

    pid: int
    oldest: int
    places: Sequence[Place]
    data: bytes = b""
    is_over: bool = False
    was_killed: bool = False


@dataclass(eq=False)
class Session:
    """A server's engine process here, and what the server says of it."""

    child: Child
    backlog_seconds: float = 0.0
    heard_at: float = field(default_factory=time.monotonic)

    def beat(self, data: bytes = b"") -> Beat:
        """The process lives."""
        return Beat(self.child.pid, self.child.oldest, self.child.recorder.read(), data)

    async def read(self) -> bytes | None:
        """What the engine says within BEAT_SECONDS, maybe nothing; None once it is gone."""
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                return await self.child.reader.read(BLOCK_BYTES) or None
        except TimeoutError:
            return b""
        except OSError:
            return None


class EngineReplica:
    """Starts engine processes for servers, which it is asked for and told by name (`replica`): that
    is for the router alone."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """`command` starts an engine process."""
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's, for itself: an engine is told its threads
        self._command = command
        self._sessions: dict[str, Session] = {}

    async def connect(
        self,
        session_id: str,
        options: Options,
        replica: str,  # noqa: ARG002 - the router reads it
    ) -> AsyncGenerator[Beat, None]:
        """Start an engine process, and yield what it says until it ends. It ends with the call, and
        when its server is silent for LEASE_SECONDS."""
        child = await start(self._command, with_threads(options))
        session = self._sessions[session_id] = Session(child)
        try:
            yield session.beat()
            while (data := await session.read()) is not None:
                if time.monotonic() - session.heard_at > LEASE_SECONDS:
                    return
                yield session.beat(data)
            pid, oldest = child.pid, child.oldest
            death = await child.end()
            yield Beat(pid, oldest, death.places, is_over=True, was_killed=death.was_killed)
        finally:
            child.kill()
            child.hang_up()
            try:
                await child.process.wait()
            finally:
                del self._sessions[session_id]

    async def tell(
        self,
        session_id: str,
        messages: bytes,
        backlog_seconds: float,
        replica: str,  # noqa: ARG002 - the router reads it
    ) -> None:
        """Pass encoded messages on to an engine process, which has so much left to do. Raises
        KeyError once it has ended."""
        session = self._sessions[session_id]
        session.heard_at = time.monotonic()
        session.backlog_seconds = backlog_seconds
        session.child.send(messages)

    async def wake(self, replica: str) -> None:
        """Do nothing. Where there is no replica, Ray starts one for the call, which waits."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray's autoscaler is told: seconds of work that wait here."""
        return {"backlog_seconds": sum(each.backlog_seconds for each in self._sessions.values())}


def with_threads(options: Options) -> Options:
    """The options with as many threads as Ray has given the replica CPUs, where they say none."""
    if options.threads != AUTO:
        return options
    import ray  # which says this in a replica alone

    given = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0))
    return dataclasses.replace(options, threads=max(1, min(given, available_cores())))
