"""Reads server-sent events from blocks of bytes, as they arrive."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event. `id` is the last one that the stream named; a new stream continues after it."""

    name: str
    data: str
    id: str | None


class EventReader:
    """Collects blocks of bytes, and returns the events that are complete.

    `last_id` is the last id that the stream named; a reader of the stream that continues it starts
    with it.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""

    def feed(self, block: bytes) -> list[Event]:
        """Add a block, and return the events that it completes."""
        # Half a character, or half a \r\n, may end a block: only whole events are decoded.
        text = (self._rest + block).replace(b"\r\n", b"\n")
        *whole, self._rest = text.split(b"\n\n")
        return [event for part in whole if (event := self._event(part.decode()))]

    def _event(self, text: str) -> Event | None:
        """Parse an event. Returns None for a comment, which only keeps the connection alive."""
        name, data = "message", []
        for line in text.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "id":
                    self.last_id = value
        return Event(name, "\n".join(data), self.last_id) if data else None
