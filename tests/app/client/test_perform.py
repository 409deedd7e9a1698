"""How effects become HTTP, in a thread and on an event loop: over a transport without a network."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import httpx
import pytest

from app.client.effects import Answer, Call, Emit, Flow, Read, Sleep
from app.client.perform import perform, perform_async

Handler = Callable[[httpx.Request], httpx.Response]
Perform = Callable[[Handler, Flow[Any], int], list[Any]]


def in_a_thread(handler: Handler, flow: Flow[Any], limit: int) -> list[Any]:
    """The first values that the flow emits, `limit` at most."""
    transport = httpx.MockTransport(handler)
    with httpx.Client(base_url="http://test", transport=transport) as http:
        with closing(perform(http, flow)) as values:
            return [value for value, _ in zip(values, range(limit), strict=False)]


def on_a_loop(handler: Handler, flow: Flow[Any], limit: int) -> list[Any]:
    """The first values that the flow emits, `limit` at most."""

    async def run() -> list[Any]:
        found: list[Any] = []
        transport = httpx.MockTransport(handler)
        async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
            async with aclosing(perform_async(http, flow)) as values:
                async for value in values:
                    found.append(value)
                    if len(found) == limit:
                        break
        return found

    return asyncio.run(run())


@pytest.fixture(params=[in_a_thread, on_a_loop])
def performed(request: pytest.FixtureRequest) -> Perform:
    perform_with: Perform = request.param
    return perform_with


class Blocks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer's content: blocks, then a broken connection. It knows whether it is closed."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = blocks
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        raise httpx.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self:
            yield block

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def ask(call: Call) -> Flow[Answer]:
    answer = yield call
    yield Emit(answer)


def read_all(call: Call) -> Flow[bytes | str]:
    yield call
    try:
        while block := (yield Read()):
            yield Emit(block)
    except httpx.TransportError as error:
        yield Emit(str(error))


def test_a_call_is_sent_as_it_is_and_its_answer_is_whole(performed: Perform) -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(202, headers={"X-Seed": "3"}, content=b"job")

    call = Call("POST", "/sample", {"Prefer": "respond-async"}, {"n": 2}, seconds=7)
    (answer,) = performed(handler, ask(call), 9)
    assert (answer.status, answer.headers["x-seed"], answer.content) == (202, "3", b"job")
    (request,) = sent
    assert (request.method, str(request.url)) == ("POST", "http://test/sample")
    assert request.headers["prefer"] == "respond-async"
    assert request.read() == b'{"n":2}'
    assert request.extensions["timeout"] == {"connect": 7, "read": 7, "write": 7, "pool": 7}


def test_a_connection_is_given_less_time_than_an_answer(performed: Perform) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=request.extensions["timeout"]["connect"])

    (answer,) = performed(handler, ask(Call("GET", "/model", seconds=600)), 9)
    assert answer.content == b"10.0"


def test_a_stream_is_read_block_by_block_and_its_breaking_is_thrown_into_the_flow(
    performed: Perform,
) -> None:
    content = Blocks(b"one", b"two")
    call = Call("GET", "/jobs/a/events", stream=True)
    found = performed(lambda _: httpx.Response(200, stream=content), read_all(call), 9)
    assert found == [b"one", b"two", "reset"]


def test_the_content_of_a_refused_stream_is_read_at_once(performed: Perform) -> None:
    call = Call("GET", "/jobs/a/events", stream=True)
    (answer,) = performed(lambda _: httpx.Response(410, content=b"gone"), ask(call), 9)
    assert (answer.status, answer.content) == (410, b"gone")


def test_leaving_the_loop_closes_the_stream(performed: Perform) -> None:
    content = Blocks(b"one", b"two")
    call = Call("GET", "/jobs/a/events", stream=True)
    assert performed(lambda _: httpx.Response(200, stream=content), read_all(call), 1) == [b"one"]
    assert content.is_closed


def test_a_call_closes_the_stream_of_the_call_before(performed: Perform) -> None:
    content = Blocks(b"one")
    was_closed: list[bool] = []

    def handler(_: httpx.Request) -> httpx.Response:
        was_closed.append(content.is_closed)
        return httpx.Response(200, stream=content)

    def twice() -> Flow[None]:
        yield Call("GET", "/jobs/a/events", stream=True)
        yield Sleep(0)
        yield Call("GET", "/jobs/a/events", stream=True)

    assert performed(handler, twice(), 9) == []
    assert was_closed == [False, True]
