"""A request whose samples several engines make, read as one."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Self

from app.pool.errors import Refused
from app.pool.inflight import InFlight, next_event
from app.wire.messages import Done, Event, Failed


class Split:
    """The parts of a request, each a job of its own; it is used as an `InFlight` is. Done comes
    when the last part is done, Failed as soon as one has failed."""

    def __init__(self, request_id: str, parts: Sequence[InFlight]) -> None:
        self.parts = {part.submit.id: part for part in parts}
        self._id = request_id
        self._dones: list[Done] = []
        self._is_over = False
        events: asyncio.Queue[Event | Refused] = asyncio.Queue()
        for part in parts:
            part.events = events

    @property
    def pieces(self) -> Sequence[InFlight]:
        """All that is run for the request."""
        return list(self.parts.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for part in self.parts.values():
            part.__exit__(*error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._is_over:
            event = await next_event(self.pieces)
            self.parts[event.id].note_read(event)
            whole = self._of_the_whole(event)
            if whole is not None:
                return whole
        raise StopAsyncIteration

    def _of_the_whole(self, event: Event) -> Event | None:
        """What an event of a part says of the request, if anything."""
        match event:
            case Failed():
                self._is_over = True
                for part in self.parts.values():  # all that is missing has failed
                    part.last = event
            case Done():
                self._dones.append(event)
                if len(self._dones) < len(self.parts):
                    return None
                self._is_over = True
                return _last_of(self._id, self._dones)
        return dataclasses.replace(event, id=self._id)


def _last_of(request_id: str, dones: Sequence[Done]) -> Done:
    """The parts' times as one: from the first step of any to the last of all."""
    queued = min(done.queue_seconds for done in dones)
    ended = max(done.queue_seconds + done.run_seconds for done in dones)
    return Done(request_id, queued, ended - queued)
