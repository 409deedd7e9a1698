"""A deployment of replicas without Ray: calls go to the replica that they name."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any

from app.cluster.replica import Beat, EngineReplica


class Stream:
    """What a call that streams returns. The generator runs in tasks of the replica, as Ray's does:
    it is not cancelled together with whoever reads."""

    def __init__(self, beats: AsyncGenerator[Beat, None]) -> None:
        self._beats = beats
        self._tasks: list[asyncio.Future[Any]] = []

    @property
    def is_over(self) -> bool:
        """Has the generator ended, and nothing of it is left?"""
        return bool(self._tasks) and all(task.done() for task in self._tasks)

    async def __anext__(self) -> Beat:
        self._tasks = [asyncio.ensure_future(anext(self._beats))]
        beat: Beat = await asyncio.shield(self._tasks[0])
        return beat

    def cancel(self) -> None:
        """End the generator."""
        self._tasks.append(asyncio.create_task(self._end(self._tasks[:])))

    async def _end(self, tasks: list[asyncio.Future[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._beats.aclose()


class Response:
    """What another call returns."""

    def __init__(self, call: Coroutine[Any, Any, Any]) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._call.__await__()

    def cancel(self) -> None:
        """As Ray's."""
        self._call.close()


class Handle:
    """Replicas by name."""

    def __init__(self, **replicas: EngineReplica) -> None:
        self.replicas = replicas
        self.streams: list[Stream] = []

    def options(self, method_name: str = "", *, stream: bool = False) -> Any:
        return Call(self, method_name, stream) if method_name else self


class Call:
    """A method of a replica."""

    def __init__(self, handle: Handle, method: str, stream: bool) -> None:
        self._handle = handle
        self._method = method
        self._stream = stream

    def remote(self, *arguments: Any, replica: str) -> Any:
        called = getattr(self._handle.replicas[replica], self._method)
        returned = called(*arguments, replica=replica)
        if not self._stream:
            return Response(returned)
        self._handle.streams.append(Stream(returned))
        return self._handle.streams[-1]
