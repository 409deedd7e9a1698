"""What is the client's own for asyncio: tasks that are cancelled, calls side by side. What both
clients do, test_client.py says."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import AsyncClient, Client
from tests.app.client.script import HEADER, frame, samples

PATIENCE_SECONDS = 10
"""For what comes at once, unless it never comes."""


class Waiting(httpx.AsyncByteStream):
    """An answer's content: blocks, and then nothing more for ever."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = blocks
        self.is_waited_for = asyncio.Event()
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self.blocks:
            yield block
        self.is_waited_for.set()
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


class Answering(httpx.AsyncBaseTransport):
    """Gives one content to whatever is asked."""

    def __init__(self, content: Waiting) -> None:
        self.content = content
        self.methods: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        return httpx.Response(200, headers={"X-Seed": "3"}, stream=self.content)


async def cancelled(content: Waiting, call: Callable[[AsyncClient], Awaitable[Any]]) -> list[str]:
    """Cancel a task once it waits for more of the content: the methods of what it asked."""
    transport = Answering(content)
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with AsyncClient("http://test", transport=transport) as client:
            task = asyncio.ensure_future(call(client))
            await content.is_waited_for.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert content.is_closed, "before the client is"
    return transport.methods


def test_it_has_each_method_of_client_with_the_same_parameters() -> None:
    def parameters(kind: type) -> dict[str, list[inspect.Parameter]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in methods
            if not name.startswith("_")
        }

    assert parameters(AsyncClient) == parameters(Client)


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda client: client.sample(), "POST"),
        (lambda client: anext(client.stream()), "POST"),
        (lambda client: client.wait("a", progress=False), "GET"),
    ],
    ids=["sample", "stream", "wait"],
)
def test_a_task_that_is_cancelled_closes_its_connection_and_asks_for_nothing_more(
    call: Callable[[AsyncClient], Awaitable[Any]], method: str
) -> None:
    async def run() -> None:
        assert await cancelled(Waiting(), call) == [method], "a job goes on"

    asyncio.run(run())


def test_a_download_that_is_cancelled_keeps_what_has_come(tmp_path: Path) -> None:
    async def run() -> None:
        target = tmp_path / "images.zip"
        await cancelled(Waiting(b"ha", b"lf"), lambda c: c.download("a", target, progress=False))

    asyncio.run(run())
    (part,) = tmp_path.iterdir()
    assert (part.name, part.read_bytes()) == ("images.zip.a.part", b"half")


def test_leaving_a_stream_closes_its_connection_at_once() -> None:
    async def run() -> None:
        content = Waiting(frame(50), frame(40))
        async with AsyncClient("http://test", transport=Answering(content)) as client:
            async with aclosing(client.stream()) as frames:
                async for each in frames:
                    assert (each.t, content.is_closed) == (50, False)
                    break
            assert content.is_closed

    asyncio.run(run())


def test_calls_of_one_client_run_side_by_side() -> None:
    async def run() -> None:
        both_are_here = asyncio.Barrier(2)

        async def handler(_: httpx.Request) -> httpx.Response:
            await both_are_here.wait()
            return httpx.Response(200, content=samples().content)

        async with asyncio.timeout(PATIENCE_SECONDS):
            transport = httpx.MockTransport(handler)
            async with AsyncClient("http://test", transport=transport) as client:
                found = await asyncio.gather(client.sample(), client.sample())
        assert [each.seed for each in found] == [HEADER["seed"]] * 2

    asyncio.run(run())


def test_after_its_block_it_is_closed() -> None:
    async def run() -> None:
        async with AsyncClient("http://test") as client:
            pass
        with pytest.raises(RuntimeError, match="this client is closed; make another"):
            await client.sample()

    asyncio.run(run())
