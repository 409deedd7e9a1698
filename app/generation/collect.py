"""A request's answer as arrays, gathered from the engine's events."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from app.generation.plan import Plan
from app.http.problems import Problem
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


async def gather(plan: Plan, events: AsyncIterator[Event]) -> Result:
    """Wait for the whole answer. Raises Problem 500 when the job failed."""
    first, n = plan.submit.indices[0], len(plan.submit.indices)
    place = {position: k for k, position in enumerate(plan.submit.shown)}
    x_0 = np.zeros((n, *plan.image_shape), np.float32)
    x_t = np.zeros((n, len(place), *plan.image_shape), np.float32)
    x_0_hat = np.zeros_like(x_t)
    async for event in events:
        match event:
            case Finished():
                x_0[event.index - first] = image(plan, event.x_0)
            case Frame():
                at = event.index - first, place[event.position]
                x_t[at], x_0_hat[at] = image(plan, event.x_t), image(plan, event.x_0_hat)
            case Failed(_, reason):
                raise Problem(500, reason)
            case Done():
                return Result(plan, x_0, x_t, x_0_hat, timing(event))
    raise Problem(500, "the engine ended the request early")


def timing(done: Done) -> dict[str, float]:
    """How long it took, as the contract names it."""
    return {"queued_s": round(done.queue_seconds, 6), "compute_s": round(done.run_seconds, 6)}


def image(plan: Plan, raw: bytes) -> Array:
    """float32 (C,H,W) from the engine's bytes."""
    return np.frombuffer(raw, "<f4").reshape(plan.image_shape)
