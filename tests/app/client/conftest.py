"""A server of a tiny model with ten classes, and each client as the same tests see it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import AsyncClient, Client
from tests.app.server import Server
from tests.conftest import ServerFor

Connect = Callable[..., Any]


@pytest.fixture(scope="session")
def checkpoint(ten_classes: Path) -> Path:
    return ten_classes


@pytest.fixture(scope="session")
def tiny_server(server_for: ServerFor, checkpoint: Path) -> Server:
    return server_for(f"--checkpoint={checkpoint}", "--max-samples=50")


class Blocking:
    """An AsyncClient whose methods return and iterate like a Client's."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if isinstance(result, AsyncGenerator):
                return self._iterate(result)
            return self._runner.run(result)

        return call

    def _iterate(self, values: AsyncGenerator[Any, None]) -> Iterator[Any]:
        end = object()

        async def following() -> Any:
            return await anext(values, end)

        while (value := self._runner.run(following())) is not end:
            yield value


class Breaking(httpx.HTTPTransport):
    """Breaks the first `times` bodies after `after` bytes."""

    def __init__(self, after: int, times: int = 1) -> None:
        super().__init__()
        self.after = after
        self.times = times
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = super().handle_request(request)
        if self.times:
            self.times -= 1
            response.stream = Torn(response.stream, self.after)
        return response


RESET = httpx.ReadError("the connection was reset")


class Torn(httpx.SyncByteStream):
    """A body up to some byte, then an error: a broken connection."""

    def __init__(self, body: Any, after: int, error: BaseException = RESET) -> None:
        self.body = body
        self.after = after
        self.error = error

    def __iter__(self) -> Iterator[bytes]:
        left = self.after
        for block in self.body:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                raise self.error

    def close(self) -> None:
        self.body.close()


class AsyncBreaking(httpx.AsyncHTTPTransport):
    """`Breaking`, for asyncio."""

    def __init__(self, after: int, times: int = 1) -> None:
        super().__init__()
        self.after = after
        self.times = times
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = await super().handle_async_request(request)
        if self.times:
            self.times -= 1
            response.stream = AsyncTorn(response.stream, self.after)
        return response


class AsyncTorn(httpx.AsyncByteStream):
    """`Torn`, for asyncio."""

    def __init__(self, body: Any, after: int) -> None:
        self.body = body
        self.after = after

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        left = self.after
        async for block in self.body:
            yield block[:left]
            left -= len(block)
            if left <= 0:
                raise httpx.ReadError("the connection was reset")

    async def aclose(self) -> None:
        await self.body.aclose()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def breaking(kind: str) -> Callable[..., Any]:
    """Makes transports that break the first bodies."""
    return Breaking if kind == "sync" else AsyncBreaking


@pytest.fixture
def connect(kind: str) -> Iterator[Connect]:
    """Makes clients of either kind, which are closed in the end."""
    made: list[Any] = []
    with asyncio.Runner() as runner:

        def new(url: str, **options: Any) -> Any:
            if kind == "sync":
                client: Any = Client(url, **options)
            else:
                client = Blocking(AsyncClient(url, **options), runner)
            made.append(client)
            return client

        yield new
        for client in made:
            client.close()


@pytest.fixture
def client(tiny_server: Server, connect: Connect) -> Any:
    return connect(tiny_server.url)
