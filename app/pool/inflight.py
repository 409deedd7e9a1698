"""A job in flight, as the API process sees it."""

import asyncio
import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field

from app.pool.errors import Refused, TooLate
from app.wire.flight_recorder import Place
from app.wire.messages import Event, Finished, Frame, Submit

TRIES = 2
"""Engines that may die of a job at the same place before it fails."""
TRIES_KILLED = 4
"""The same, when they were killed: by the kernel for the memory it takes, or by somebody who does
not know of it."""
MAX_DEATHS = 10
"""Engines that may die of a job at any place, while no other was in the batch."""


@dataclass(eq=False)
class Flight:
    """A job in flight: what is still to come, who waits for it, and what it is suspected of."""

    submit: Submit
    events: "asyncio.Queue[Event | Refused]" = field(default_factory=asyncio.Queue)
    missing: set[int] = field(default_factory=set)
    sent_frames: set[tuple[int, int]] = field(default_factory=set)
    buffered: int = 0  # bytes in `events`
    is_paused: bool = False
    deaths: Counter[tuple[int, int]] = field(default_factory=Counter)  # of engines, by place
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.missing = set(self.submit.indices)

    def accept(self, event: Event) -> None:
        """Pass an event on, unless an engine that died had already sent it."""
        if isinstance(event, Frame):
            key = (event.index, event.position)
            if key in self.sent_frames:
                return
            self.sent_frames.add(key)
        if isinstance(event, Finished):
            self.missing.discard(event.index)
        self.buffered += size(event)
        self.events.put_nowait(event)

    async def next(self, deadline: float | None) -> Event:
        """The next event, once there is one. Raises TooLate at `deadline`, on the loop's clock, and
        what the job was refused with meanwhile."""
        try:
            async with asyncio.timeout_at(deadline):
                event = await self.events.get()
        except TimeoutError:
            done, n = len(self.submit.indices) - len(self.missing), len(self.submit.indices)
            raise TooLate(f"{done} of {n} samples were done in the time that there was") from None
        if isinstance(event, Refused):
            raise event
        self.buffered -= size(event)
        return event

    def blame(self, place: Place, *, was_killed: bool) -> str | None:
        """An engine died while this job, maybe beside others, was at `place`. From now on it runs
        in batches of its own, so that the next death tells more. Why it must fail, if it must."""
        was_alone = self.submit.is_alone
        self.deaths[place.sample, place.position] += 1
        self.submit = dataclasses.replace(self.submit, is_alone=True)
        tries = self.deaths[place.sample, place.position]
        enough = tries >= (TRIES_KILLED if was_killed else TRIES)
        if was_alone and (enough or self.deaths.total() >= MAX_DEATHS):
            return (
                f"the engine died {self.deaths.total()} times while running it, the last time at "
                f"step {place.position + 1} of sample {place.sample}"
            )
        return None

    def remainder(self) -> Submit:
        """The job without the samples that are finished. Its time so far counts as lost: else
        shorter jobs would overtake it for ever, while engines die again and again."""
        submit = self.submit
        kept = [i for i, index in enumerate(submit.indices) if index in self.missing]
        labels = submit.labels
        return dataclasses.replace(
            submit,
            indices=tuple(submit.indices[i] for i in kept),
            labels=None if labels is None else tuple(labels[i] for i in kept),
            waited=time.monotonic() - self.since,
        )

    @property
    def steps(self) -> int:
        """Denoising steps still to do, at most."""
        return len(self.missing) * self.submit.steps

    @property
    def cost(self) -> int:
        """Network rows still to be run, at most."""
        return self.steps * self.submit.rows


def size(event: Event) -> int:
    """Bytes that an event holds, about."""
    match event:
        case Frame():
            return len(event.x_t) + len(event.x_0_hat) + 100
        case Finished():
            return len(event.x_0) + 100
    return 100
