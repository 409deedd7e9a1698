"""Who is admitted: what the queue holds at most, of everybody and of each client."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from app.pool.errors import ClientOverLimit, Overloaded
from app.pool.tally import Queue, Tally
from app.wire.messages import Submit


@dataclass(frozen=True)
class Bounds:
    """What the queue holds at most: unfinished samples, and denoising steps left to do for them."""

    samples: int
    steps: int


@dataclass(frozen=True)
class Limits:
    """The bounds of the whole server's queue, and of one client's part of it."""

    server: Bounds
    client: Bounds


class Admission:
    """Says whether the queue has room for a job. It reserves nothing."""

    def __init__(self, limits: Limits, queue: Queue, seconds: Callable[[Tally], float]) -> None:
        """`seconds` are those in which all engines should do what is left."""
        self._limits = limits
        self._queue = queue
        self._seconds = seconds

    def check_queue(self, submit: Submit) -> None:
        """Raise Overloaded where the whole queue has no room for a job."""
        everybody = self._queue.everybody
        shortage = _shortage(submit, everybody, self._limits.server)
        if shortage is not None:
            raise Overloaded(f"the queue has {shortage}", _whole(self._seconds(everybody)))

    def check_share(self, submit: Submit, bounds: Bounds | None) -> None:
        """Raise ClientOverLimit where its client's part of the queue has no room for a job."""
        own = self._queue.of(submit.client)
        shortage = _shortage(submit, own, bounds or self._limits.client)
        if shortage is not None:
            # Its own work goes on beside that of the others, each with an equal share.
            its_turns = self._queue.num_clients * self._seconds(own)
            seconds = min(self._seconds(self._queue.everybody), its_turns)
            raise ClientOverLimit(f"your part of the queue has {shortage}", _whole(seconds))


def _whole(seconds: float) -> int:
    """Whole seconds, for Retry-After."""
    return max(1, math.ceil(seconds))


def _shortage(submit: Submit, queued: Tally, bounds: Bounds) -> str | None:
    """What there is no room for beside what is in the queue, if anything."""
    n = len(submit.indices)
    for unit, asked, held, bound in (
        ("samples", n, queued.samples, bounds.samples),
        ("steps", n * submit.steps, queued.steps, bounds.steps),
    ):
        if held + asked > bound:
            room = max(0, bound - held)
            return f"room for {room} of the {asked} {unit} asked for (it holds {bound})"
    return None
