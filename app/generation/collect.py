"""Gathers what the engine made into the arrays that a request's answer needs, and no others."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from app.generation.errors import JobFailed
from app.generation.plan import Plan
from app.wire.messages import Done, Event, Failed, Finished, Frame, Measured
from diffusion import pixels

Array = np.ndarray


@dataclass(frozen=True)
class Needs:
    """The arrays of a `Result` that a format is made of; `exact`: as float32, not as pixels."""

    x_0: bool = False
    x_t: bool = False
    x_0_hat: bool = False
    exact: bool = False


class Result:
    """What was made for a plan. An array that nobody needs has no elements.

    `x_0` is uint8 (n,H,W,C). `x_t` and `x_0_hat` are uint8 (n,frames,H,W,C), or, where `needs` says
    exact, float32 (n,frames,C,H,W).
    """

    def __init__(self, plan: Plan, needs: Needs) -> None:
        (C, H, W), n = plan.image_shape, len(plan.submit.indices)
        frames = len(plan.shown_times), *((C, H, W) if needs.exact else (H, W, C))
        kind = np.float32 if needs.exact else np.uint8
        self.plan = plan
        self.x_0 = np.zeros((n if needs.x_0 else 0, H, W, C), np.uint8)
        self.x_t = np.zeros((n if needs.x_t else 0, *frames), kind)
        self.x_0_hat = np.zeros((n if needs.x_0_hat else 0, *frames), kind)
        self.terms: list[Measured] = []  # of the bound, as they came
        self.timing: dict[str, float] = {}
        self._is_exact = needs.exact

    def put_image(self, number: int, x_0: Array) -> None:
        """Keep the image of a sample, float32 (C,H,W); numbers count from 0."""
        if len(self.x_0):
            self.x_0[number] = pixels.to_uint8(x_0)

    def put_frame(self, number: int, frame: int, x_t: Array, x_0_hat: Array) -> None:
        """Keep both pictures of a sample's frame, float32 (C,H,W); numbers count from 0."""
        for kept, picture in ((self.x_t, x_t), (self.x_0_hat, x_0_hat)):
            if len(kept):
                kept[number, frame] = picture if self._is_exact else pixels.to_uint8(picture)


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame of one sample: its place among the frames, from 0, the paper's t, and both pictures,
    float32 (C,H,W)."""

    index: int
    place: int
    t: int
    x_t: Array
    x_0_hat: Array


async def gather(plan: Plan, events: AsyncIterator[Event], needs: Needs) -> Result:
    """Wait for the whole answer. Raises JobFailed when the engine could not compute it."""
    first = plan.submit.indices[0]
    result = Result(plan, needs)
    async for event in events:
        match event:
            case Frame() | Finished():
                if isinstance(event, Finished):
                    result.put_image(event.index - first, image(plan, event.x_0))
                if (frame := shown(plan, event)) is not None:
                    number = frame.index - first
                    result.put_frame(number, frame.place, frame.x_t, frame.x_0_hat)
            case Measured():
                result.terms.append(event)
            case Failed(_, reason):
                raise JobFailed(reason)
            case Done():
                result.timing = timing(event)
                return result
    raise JobFailed("the engine ended the request early")


def shown(plan: Plan, event: Frame | Finished) -> Shown | None:
    """The frame that an event stands for. A finished sample is the last frame, if its result is
    shown; else None."""
    positions, times = plan.submit.shown, plan.shown_times
    if isinstance(event, Frame):
        place = positions.index(event.position)
        x_t, x_0_hat = image(plan, event.x_t), image(plan, event.x_0_hat)
        return Shown(event.index, place, times[place], x_t, x_0_hat)
    if plan.submit.steps not in positions:
        return None
    x_0 = image(plan, event.x_0)
    return Shown(event.index, len(times) - 1, times[-1], x_0, x_0)


def timing(done: Done) -> dict[str, float]:
    """How long the job waited and ran, by the names of the HTTP contract."""
    return {"queued_s": round(done.queue_seconds, 6), "compute_s": round(done.run_seconds, 6)}


def image(plan: Plan, raw: bytes) -> Array:
    """float32 (C,H,W) from the engine's bytes."""
    return np.frombuffer(raw, "<f4").reshape(plan.image_shape)
