"""How a training step draws t: uniformly, or more often where the loss is large.

The second is importance sampling, section 3.3 of IDDPM (Nichol & Dhariwal 2021).
"""

from typing import NamedTuple

import torch
from torch import Tensor

HISTORY = 10
"""How many losses are remembered for each t."""
UNIFORM_SHARE = 0.001
"""The default share of draws that stay uniform, so that no t is left out for ever."""


class Drawn(NamedTuple):
    """Timesteps, and weights under which the mean loss is that over uniform t."""

    t: Tensor  # (B,) int64
    weight: Tensor  # (B,) float32


class Uniform:
    """A way to draw t under which every t is equally likely, as in Algorithm 1."""

    def __init__(self, num_timesteps: int) -> None:
        self.num_timesteps = num_timesteps

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        """Draw `count` timesteps, each with the weight of its loss."""
        t = torch.randint(self.num_timesteps, (count,), generator=generator)
        return Drawn(t, torch.ones(count))

    def note(self, t: Tensor, losses: Tensor) -> None:
        """Remember the unweighted losses (B,) of images at t (B,); uniform draws need none."""

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs to draw the same."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up the state of an interrupted run, as `state` returned it."""


class Importance(Uniform):
    """A way to draw t with probability p_t proportional to sqrt(E[L_t^2]), over the last HISTORY
    losses at t.

    The weights 1 / (T p_t) keep the mean loss; its noise is less where the terms of the bound
    differ by orders of magnitude. The draws are uniform until every t has HISTORY losses, and a
    share of them, `uniform_share`, stays so: hence no weight is above 1 / uniform_share.
    """

    def __init__(self, num_timesteps: int, uniform_share: float = UNIFORM_SHARE) -> None:
        super().__init__(num_timesteps)
        self.uniform_share = uniform_share
        self.losses = torch.zeros(num_timesteps, HISTORY, dtype=torch.float64)
        self.counts = torch.zeros(num_timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """Return p_t, the probability with which each t is drawn, (T,) float64."""
        uniform = torch.full((self.num_timesteps,), 1 / self.num_timesteps, dtype=torch.float64)
        if bool((self.counts < HISTORY).any()):
            return uniform
        size = self.losses.square().mean(dim=1).sqrt()
        return (1 - self.uniform_share) * size / size.sum() + self.uniform_share * uniform

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        """Draw `count` timesteps, each with the weight 1 / (T p_t) of its loss."""
        p = self.probabilities()
        t = torch.multinomial(p, count, replacement=True, generator=generator)
        return Drawn(t, (1 / (self.num_timesteps * p[t])).float())

    def note(self, t: Tensor, losses: Tensor) -> None:
        """Remember the unweighted losses (B,) of images at t (B,); the oldest are forgotten."""
        for i, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[i, self.counts[i] % HISTORY] = loss
            self.counts[i] += 1

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the losses that are remembered, for a resumed run."""
        return {"losses": self.losses.clone(), "counts": self.counts.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up the losses of an interrupted run, as `state` returned them."""
        self.losses, self.counts = state["losses"], state["counts"]
