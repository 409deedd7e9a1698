"""Gathers the engine's events into a request's answer, as arrays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from app.generation.errors import JobFailed
from app.generation.plan import Plan
from app.wire.messages import Done, Event, Failed, Finished, Frame

Array = np.ndarray


@dataclass(frozen=True)
class Result:
    """`x_0` float32 (n,C,H,W); for trajectories `x_t` and `x_0_hat` (n,frames,C,H,W)."""

    plan: Plan
    x_0: Array
    x_t: Array
    x_0_hat: Array
    timing: dict[str, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame of one sample: the paper's t, and both pictures, float32 (C,H,W)."""

    index: int
    t: int
    x_t: Array
    x_0_hat: Array


async def gather(plan: Plan, events: AsyncIterator[Event]) -> Result:
    """Wait for the whole answer. Raises JobFailed when the engine could not compute it."""
    first, n = plan.submit.indices[0], len(plan.submit.indices)
    place = {t: k for k, t in enumerate(plan.shown_times)}
    x_0 = np.zeros((n, *plan.image_shape), np.float32)
    x_t = np.zeros((n, len(place), *plan.image_shape), np.float32)
    x_0_hat = np.zeros_like(x_t)
    async for event in events:
        match event:
            case Frame() | Finished():
                if isinstance(event, Finished):
                    x_0[event.index - first] = image(plan, event.x_0)
                if (frame := shown(plan, event)) is not None:
                    at = frame.index - first, place[frame.t]
                    x_t[at], x_0_hat[at] = frame.x_t, frame.x_0_hat
            case Failed(_, reason):
                raise JobFailed(reason)
            case Done():
                return Result(plan, x_0, x_t, x_0_hat, timing(event))
    raise JobFailed("the engine ended the request early")


def shown(plan: Plan, event: Frame | Finished) -> Shown | None:
    """The frame that an event stands for. A finished sample is the frame at t = 0, if that is
    shown; else None."""
    if isinstance(event, Frame):
        t = plan.shown_times[plan.submit.shown.index(event.position)]
        return Shown(event.index, t, image(plan, event.x_t), image(plan, event.x_0_hat))
    if plan.submit.steps not in plan.submit.shown:
        return None
    x_0 = image(plan, event.x_0)
    return Shown(event.index, 0, x_0, x_0)


def timing(done: Done) -> dict[str, float]:
    """How long the job waited and ran, by the names of the HTTP contract."""
    return {"queued_s": round(done.queue_seconds, 6), "compute_s": round(done.run_seconds, 6)}


def image(plan: Plan, raw: bytes) -> Array:
    """float32 (C,H,W) from the engine's bytes."""
    return np.frombuffer(raw, "<f4").reshape(plan.image_shape)
