"""Server-sent events, however the bytes are cut."""

import pytest

from app.client.events import Event, EventReader

STREAM = (
    ": keep-alive\n\n"
    'id: 4\nevent: progress\ndata: {"name": "é"}\n\n'
    "event:frame\ndata:one\ndata: two\n\n"
    "data: no name\r\n\r\n"
    "event: nothing\n\n"
    "id: end\nevent: done\ndata: {}\n\n"
    "event: frame\ndata: cut o"
).encode()
EVENTS = [
    Event("progress", '{"name": "é"}', "4"),
    Event("frame", "one\ntwo", "4"),
    Event("message", "no name", "4"),
    Event("done", "{}", "end"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_events_are_whole_whatever_the_blocks(size: int) -> None:
    reader = EventReader()
    blocks = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [event for block in blocks for event in reader.feed(block)] == EVENTS
