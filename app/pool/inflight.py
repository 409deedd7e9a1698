"""A job in the pool, as the API process sees it: what came of it, and what is still to come."""

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from app.pool.errors import Refused, TooLate
from app.pool.tally import Counting, Share
from app.wire.flight_recorder import Place
from app.wire.messages import Done, Event, Failed, Finished, Frame, Measured, Submit

TRIES = 2
"""Engines that may die of a job at the same place before it fails."""
TRIES_KILLED = 4
"""The same number where they were killed: by the kernel for the memory that the job takes, or by
somebody who does not know of it."""
MAX_DEATHS = 10
"""Engines that may die of a job at any place, while no other was in the batch."""

Outcome = Literal["finished", "failed", "cancelled"]


class Holder(Protocol):
    """The engine that runs the job."""

    def keep_pace(self, inflight: "InFlight") -> None:
        """Some events have been read: pause the job, or let it go on."""

    def charge(self, inflight: "InFlight") -> None:
        """Another client pays for the job: that of its Submit."""

    def release(self, inflight: "InFlight") -> None:
        """Nobody reads any more: cancel what is left of the job."""


@dataclass(eq=False)
class InFlight:
    """A job in the pool, whose events are read once:

        with pool.submit(submit) as inflight:
            async for event in inflight:
                ...

    The last event is Done or Failed. Iterating raises TooLate at `deadline` (on the event loop's
    clock), NotReady when the server shuts down first. Leaving the block cancels what is left, and
    tells `on_leave` how many samples came to which outcome. It may be one of several `parts` of a
    request, whose events come in one queue. `callers` are the requests that wait for it, each a
    share of its client in the queue; the client of the Submit pays for it.
    """

    submit: Submit
    deadline: float | None
    holder: Holder | None
    on_leave: Callable[[Outcome, int], None]
    parts: int = 1
    missing: set[int] = field(default_factory=set)  # indices that are not finished
    callers: list[Share] = field(default_factory=list)
    buffered: int = 0  # bytes of events that nobody has read yet
    is_paused: bool = False
    since: float = field(default_factory=time.monotonic)
    events: "asyncio.Queue[Event | Refused]" = field(default_factory=asyncio.Queue)
    _sent: dict[int, int] = field(default_factory=dict)  # the last frame's position, by index
    _deaths: Counter[tuple[int, int]] = field(default_factory=Counter)  # of engines, by place
    _is_alone: bool = False  # suspected of having killed an engine
    last: Event | None = None  # that was read
    _counted_in: list[Counting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.missing = set(self.submit.indices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.holder is not None:
            self.holder.release(self)
        unfinished: Outcome = "failed" if isinstance(self.last, Failed) else "cancelled"
        self.on_leave("finished", len(self.submit.indices) - len(self.missing))
        self.on_leave(unfinished, len(self.missing))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if isinstance(self.last, Done | Failed):
            raise StopAsyncIteration
        event = await next_event([self])
        self.note_read(event)
        return event

    def note_read(self, event: Event) -> None:
        """An event has been read."""
        self.last = event
        self.buffered -= size(event)
        if self.holder is not None:
            self.holder.keep_pace(self)

    def accept(self, event: Event) -> None:
        """Pass an event of an engine on, unless an engine that died had already sent it."""
        if isinstance(event, Frame):
            # A chain's frames come in order, from each engine again from the first.
            if event.position <= self._sent.get(event.index, -1):
                return
            self._sent[event.index] = event.position
        if isinstance(event, Finished | Measured) and event.index in self.missing:
            self.missing.discard(event.index)
            for counting in self._counted_in:
                counting.finish(self.submit, 1)
        self.buffered += size(event)
        self.events.put_nowait(event)

    def count_in(self, counting: Counting) -> None:
        """Have it counted there from now on, as long as it is not over."""
        counting.join(self.submit, len(self.missing))
        self._counted_in.append(counting)

    def count_out(self, counting: Counting) -> None:
        """Have it counted there no more."""
        if counting in self._counted_in:  # else it is over
            self._counted_in.remove(counting)
            counting.leave(self.submit, len(self.missing))

    def call(self, caller: Share) -> None:
        """Have another request wait for it."""
        self.callers.append(caller)
        self.count_in(caller)

    def hang_up(self, client: str) -> None:
        """A request of this client waits for it no longer."""
        caller = next(caller for caller in self.callers if caller.client == client)
        self.callers.remove(caller)
        self.count_out(caller)

    def charge(self, client: str) -> None:
        """Have another client pay for it from now on."""
        samples = len(self.missing)
        for counting in self._counted_in:
            counting.leave(self.submit, samples)
        self.submit = dataclasses.replace(self.submit, client=client)
        for counting in self._counted_in:
            counting.join(self.submit, samples)
        if self.holder is not None:
            self.holder.charge(self)

    def end(self) -> None:
        """Count the job nowhere any more: it is over."""
        for counting in list(self._counted_in):
            self.count_out(counting)

    def refuse(self, reason: Refused) -> None:
        """End the iteration with this error, after the events that are there."""
        self.events.put_nowait(reason)

    def blame(self, place: Place, *, was_killed: bool) -> str | None:
        """Note that an engine died while this job, maybe beside others, was at `place`. From now on
        it runs in batches of its own, so that the next death tells more. Returns why it must fail,
        if it must."""
        was_alone = self._is_alone
        self._is_alone = True
        self._deaths[place.sample, place.position] += 1
        tries = self._deaths[place.sample, place.position]
        enough = tries >= (TRIES_KILLED if was_killed else TRIES)
        if was_alone and (enough or self._deaths.total() >= MAX_DEATHS):
            return (
                f"the engine died {self._deaths.total()} times while running it, the last time at "
                f"step {place.position + 1} of sample {place.sample}"
            )
        return None

    def ending(self, places: Mapping[str, Place], *, was_killed: bool) -> Done | Failed | None:
        """How this job ends with its engine, which died at `places`, if it does: only its Done was
        lost, or it is to blame."""
        job_id = self.submit.id
        if not self.missing:
            return Done(job_id, 0.0, 0.0)
        if job_id not in places:
            return None
        reason = self.blame(places[job_id], was_killed=was_killed)
        return None if reason is None else Failed(job_id, reason)

    def remainder(self) -> Submit:
        """The job for the next engine: without the samples that are finished. Its time so far
        counts as lost, or shorter jobs would overtake it for ever while engines die again and
        again."""
        indices = self.submit.indices
        left = [place for place, index in enumerate(indices) if index in self.missing]
        return dataclasses.replace(
            self.submit.only(left),
            is_alone=self._is_alone,
            waited=time.monotonic() - self.since,
        )

    @property
    def pieces(self) -> "Sequence[InFlight]":
        """All that is run for the request: here itself alone."""
        return [self]


async def next_event(parts: Sequence[InFlight]) -> Event:
    """The next event of the parts of a request. Raises TooLate at their deadline, and whatever they
    are refused for."""
    first = parts[0]
    try:
        async with asyncio.timeout_at(first.deadline):
            event = await first.events.get()
    except TimeoutError:
        raise too_late(parts) from None
    if isinstance(event, Refused):
        raise event
    return event


def too_late(parts: Sequence[InFlight]) -> TooLate:
    """What to tell somebody whose time is over before the parts of a request are done."""
    n = sum(len(part.submit.indices) for part in parts)
    done = n - sum(len(part.missing) for part in parts)
    return TooLate(f"only {done} of {n} samples were done in the time allowed")


def size(event: Event) -> int:
    """Bytes that an event holds, about."""
    match event:
        case Frame() | Measured():
            return len(event.x_t) + len(event.x_0_hat) + 100
        case Finished():
            return len(event.x_0) + 100
    return 100
