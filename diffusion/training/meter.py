"""What a training run tells of itself in its log: means since the last log line."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffusion.training.batches import Batch
from diffusion.training.losses import Losses
from diffusion.training.words import duration

QUARTILES = 4
"""Into how many equal ranges of t L_simple is told apart in the log."""


PACE_STEPS = 10
"""After so many steps it is said how long a run will take."""


class Pace:
    """How fast a run goes that begins after the step `start`.

    Its first step does not count: it may compile the network, and takes memory for the first time.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.first_done = 0.0
        self.seconds = 0.0  # a step takes

    def note(self, step: int) -> bool:
        """Take the time of a step that is done; True once, after PACE_STEPS of them."""
        now, done = time.monotonic(), step - self.start
        if done == 1:
            self.first_done = now
        if done == PACE_STEPS:
            self.seconds = (now - self.first_done) / (PACE_STEPS - 1)
        return done == PACE_STEPS

    def left(self, steps: int) -> str:
        """Return how long so many more steps will take, in words."""
        return f"about {duration(steps * self.seconds)} left, at {self.seconds:.3g} s a step"


@dataclass
class Meter:
    """What is logged: means since the last log line, of losses, gradient norm and images/s.

    The losses are the one that is minimised, and L_simple, over all t and by quarter of t. Their
    means are those over uniform t, however t was drawn.
    """

    num_timesteps: int
    losses: list[Tensor] = field(default_factory=list)
    simple: list[Tensor] = field(default_factory=list)
    times: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    workers: int = 1  # the means are over this worker's share, images/s over all

    def add(self, batch: Batch, losses: Losses) -> None:
        """Take in the losses of a batch, each (B,)."""
        self.times.append(batch.t)
        self.weights.append(batch.weight)
        self.losses.append(losses.total)
        self.simple.append(losses.simple)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose time does not count for images/s: in it nothing is trained on."""
        before = time.monotonic()
        yield
        self.started += time.monotonic() - before

    def scalars(self) -> dict[str, float]:
        """Return the means so far, by their names in the log, and start anew."""
        # All losses since the last line, (N,); taken to the CPU only here, as that waits for a GPU
        parts = (self.losses, self.simple, self.times, self.weights)
        loss, simple, t, weight = (torch.cat(part).cpu() for part in parts)
        seconds = time.monotonic() - self.started
        scalars = {
            "loss": (loss * weight).mean().item(),
            "loss_simple": (simple * weight).mean().item(),
            "gradient_norm": torch.stack(self.norms).mean().item(),
            "images_per_second": len(loss) * self.workers / seconds,
        }
        # L_simple by quarter of t: how it falls with t says more than its mean, which small t rule
        quartile = t * QUARTILES // self.num_timesteps
        for q in range(QUARTILES):
            share = weight * (quartile == q)
            if bool(share.any()):
                scalars[f"loss_by_t/quartile_{q + 1}"] = (
                    (simple * share).sum() / share.sum()
                ).item()
        self.losses, self.simple, self.times, self.weights, self.norms = [], [], [], [], []
        self.started = time.monotonic()
        return scalars
