"""Which t a training step looks at: all alike, or those that matter most (IDDPM, section 3.3)."""

from typing import NamedTuple

import torch
from torch import Tensor

HISTORY = 10
"""Losses remembered for each t."""
UNIFORM_SHARE = 0.001
"""Of the draws by importance, unless told otherwise: no t is left out for ever."""


class Drawn(NamedTuple):
    """`t` (B,) int64, and the `weight` (B,) float32 that keeps the mean loss what it is over
    uniform t."""

    t: Tensor
    weight: Tensor


class Uniform:
    """Every t alike: what L_simple wants."""

    def __init__(self, num_timesteps: int) -> None:
        self.num_timesteps = num_timesteps

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        """`count` times."""
        t = torch.randint(self.num_timesteps, (count,), generator=generator)
        return Drawn(t, torch.ones(count))

    def note(self, t: Tensor, losses: Tensor) -> None:
        """Nothing is learnt from losses."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""


class Importance(Uniform):
    """t with probability proportional to sqrt(E[L_t^2]) over the last HISTORY losses at t, weighted
    by 1 / (T p_t): the same mean as uniform t, with less noise where the terms differ by orders of
    magnitude. Uniform until every t has HISTORY losses, and for `uniform_share` of the draws after
    that: no weight is above 1 / uniform_share."""

    def __init__(self, num_timesteps: int, uniform_share: float = UNIFORM_SHARE) -> None:
        super().__init__(num_timesteps)
        self.uniform_share = uniform_share
        self.losses = torch.zeros(num_timesteps, HISTORY, dtype=torch.float64)
        self.counts = torch.zeros(num_timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p_t (T,) float64."""
        uniform = torch.full((self.num_timesteps,), 1 / self.num_timesteps, dtype=torch.float64)
        if bool((self.counts < HISTORY).any()):
            return uniform
        size = self.losses.square().mean(dim=1).sqrt()
        return (1 - self.uniform_share) * size / size.sum() + self.uniform_share * uniform

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        p = self.probabilities()
        t = torch.multinomial(p, count, replacement=True, generator=generator)
        return Drawn(t, (1 / (self.num_timesteps * p[t])).float())

    def note(self, t: Tensor, losses: Tensor) -> None:
        """Remember the unweighted losses (B,) of images at t (B,), the oldest ones forgotten."""
        for i, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[i, self.counts[i] % HISTORY] = loss
            self.counts[i] += 1

    def state(self) -> dict[str, Tensor]:
        return {"losses": self.losses.clone(), "counts": self.counts.clone()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.losses, self.counts = state["losses"], state["counts"]
