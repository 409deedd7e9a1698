"""Server-sent events, and the pauses between them."""

import asyncio
from collections.abc import AsyncIterator

from app.http.sse import KEEP_ALIVE, sse, with_pauses


def test_an_event_is_its_name_and_a_line_of_json() -> None:
    assert sse("frame", {"t": 7}) == b'event: frame\ndata: {"t":7}\n\n'
    assert sse("done", {}, "end") == b"id: end\nevent: done\ndata: {}\n\n"


def test_a_line_break_in_the_data_does_not_end_the_event() -> None:
    assert sse("error", {"detail": "a\nb"}).count(b"\n") == 3


def test_a_comment_has_no_field_that_a_client_would_read() -> None:
    assert KEEP_ALIVE.startswith(b":") and KEEP_ALIVE.endswith(b"\n\n")


async def numbers(go_on: asyncio.Event, closed: list[str]) -> AsyncIterator[int]:
    try:
        yield 1
        await go_on.wait()
        yield 2
    finally:
        closed.append("closed")


def test_a_pause_is_told_and_no_event_is_lost() -> None:
    async def run() -> list[int | None]:
        go_on, found, closed = asyncio.Event(), list[int | None](), list[str]()
        async for number in with_pauses(numbers(go_on, closed), 0.001):
            found.append(number)
            if found.count(None) == 2:
                go_on.set()
        assert closed
        return found

    found = asyncio.run(run())
    assert [number for number in found if number] == [1, 2]
    assert found[1:3] == [None, None]


def test_when_it_is_closed_it_waits_for_no_event_any_more() -> None:
    async def run() -> None:
        closed: list[str] = []
        paced = with_pauses(numbers(asyncio.Event(), closed), 0.001)
        assert [await anext(paced), await anext(paced)] == [1, None]
        await paced.aclose()
        assert closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
