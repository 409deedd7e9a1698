"""Answers in blocks: sent whole, left by the client, or broken off."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.http.blocks import LEAST_RATE, BlockResponse, BrokenOff
from app.http.request_log import RequestRecord

pytestmark = pytest.mark.anyio
WRITE_SECONDS = 1.0


class Client:
    """An ASGI connection, as uvicorn gives it."""

    def __init__(self, leaves: bool = False, pause: float = 0.01) -> None:
        self.scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "headers": []}
        self.sent: list[Message] = []
        self._leaves = leaves
        self._pause = pause

    async def receive(self) -> Message:
        if not self._leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await asyncio.sleep(self._pause)


async def answer(client: Client, blocks: AsyncGenerator[bytes, None]) -> list[str]:
    """Send it; what became of its blocks and of what it holds, in order."""
    told: list[str] = []

    async def watched() -> AsyncGenerator[bytes, None]:
        try:
            async for block in blocks:
                yield block
        finally:
            told.append("closed")

    response = BlockResponse(
        watched(), 200, {}, "a/b", WRITE_SECONDS, lambda: told.append("released")
    )
    await response(client.scope, client.receive, client.send)
    return told


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield b"block"


async def broken() -> AsyncGenerator[bytes, None]:
    yield b"block"
    raise BrokenOff("sample 3: its file is damaged")


async def two() -> AsyncGenerator[bytes, None]:
    yield b"one"
    yield b"two"


async def test_all_blocks_are_sent_and_what_is_held_is_given_back() -> None:
    client = Client()
    assert await answer(client, two()) == ["closed", "released"]
    assert [message.get("body") for message in client.sent] == [None, b"one", b"two", b""]
    assert not client.sent[-1]["more_body"]


async def test_a_client_that_leaves_ends_it() -> None:
    async with asyncio.timeout(10):
        told = await answer(Client(leaves=True), endless())
    assert told[-1] == "released"


async def test_one_that_breaks_off_has_no_end_and_says_why_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    assert await answer(client, broken()) == ["closed", "released"]
    assert client.sent[-1]["more_body"], "uvicorn closes the connection of such an answer"
    assert "cut off" in caplog.text and "sample 3: its file is damaged" in caplog.text
    assert RequestRecord.of(client.scope).dropped == "cut_off"


async def many(size: int, pause: float = 0.0) -> AsyncGenerator[bytes, None]:
    for _ in range(30):
        await asyncio.sleep(pause)
        yield bytes(size)


async def test_a_client_that_reads_for_ever_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(pause=0.1)
    async with asyncio.timeout(10):
        assert await answer(client, many(100)) == ["closed", "released"]
    assert len(client.sent) < 15 and client.sent[-1]["more_body"]
    assert "its client reads less than 64 KiB a second" in caplog.text
    assert RequestRecord.of(client.scope).dropped == "cut_off"


@pytest.mark.slow
async def test_a_slow_client_has_time_for_every_byte() -> None:
    client = Client(pause=0.1)
    await answer(client, many(LEAST_RATE // 10))
    assert not client.sent[-1]["more_body"], "3 s"


@pytest.mark.slow
async def test_the_time_in_which_blocks_are_made_is_not_the_clients() -> None:
    client = Client(pause=0.0)
    await answer(client, many(100, pause=0.1))
    assert not client.sent[-1]["more_body"], "3 s"
