"""A deployment of replicas without Ray: calls go to the replica that they name."""

from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any

from app.cluster.replica import Beat, EngineReplica


class Stream:
    """What a call that streams returns."""

    def __init__(self, beats: AsyncGenerator[Beat, None]) -> None:
        self._beats = beats

    def __aiter__(self) -> AsyncGenerator[Beat, None]:
        return self._beats

    async def __anext__(self) -> Beat:
        return await anext(self._beats)

    def cancel(self) -> None:
        """As Ray's: the generator is ended in a task of the replica."""
        import asyncio

        asyncio.get_running_loop().create_task(self._beats.aclose())


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
        return Stream(returned) if self._stream else Response(returned)
