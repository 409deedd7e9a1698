"""Messages are read from a stream, however they arrive."""

import asyncio

import pytest

from app.pool.connection import read_message
from app.wire.codec import ProtocolError, encode
from app.wire.messages import Starting

pytestmark = pytest.mark.anyio

MESSAGE = Starting("m#1", "loading")


async def test_a_message_is_read_as_soon_as_it_is_whole() -> None:
    reader, wire = asyncio.StreamReader(), encode(MESSAGE)
    reader.feed_data(wire[:5])
    reading = asyncio.create_task(read_message(reader))
    await asyncio.sleep(0.01)
    assert not reading.done()
    reader.feed_data(wire[5:])
    assert await reading == MESSAGE


async def test_at_the_end_there_is_none_also_of_a_message_that_is_cut() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(encode(MESSAGE)[:7])
    reader.feed_eof()
    assert await read_message(reader) is None
    assert await read_message(reader) is None


async def test_what_is_no_message_is_an_error() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"\0\0\0\5hello")
    with pytest.raises(ProtocolError):
        await read_message(reader)
