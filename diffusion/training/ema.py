"""Moving averages of the weights: what is evaluated, exported and served."""

import copy
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
Decay = Callable[[int], float]
"""How much of an average stays at an update, by the number of updates before it."""


class EMA(Generic[M]):
    """A moving average of a model's parameters, of which an update keeps the share `decay`."""

    def __init__(self, model: M, decay: Decay) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: M, num_updates: int) -> None:
        """Move the average towards `model`; `num_updates` counts the updates before this one."""
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self.decay(num_updates))


def exponential(decay: float) -> Decay:
    """Return the decay of an exponential average with warm-up: min(decay, (1 + n) / (10 + n)).

    Without this warm-up the average would keep much of the random initial weights for about
    1 / (1 - decay) updates. While it lasts, this is nearly the power function with gamma = 8, so
    sigma_rel = 0.09.
    """
    return lambda n: min(decay, (1 + n) / (10 + n))


def power_function(sigma_rel: float) -> Decay:
    """Return the decay of the average in which step k of t weighs as (k/t)^gamma.

    Its length is a share of training so far: as a density over the steps up to t, the weights have
    the standard deviation sigma_rel t. The initial weights are not in it. Karras et al. 2024
    (EDM2), eq. 2-3: beta_t = (1 - 1/t)^(gamma + 1).
    """
    gamma = exponent(sigma_rel)
    return lambda n: float((1 - 1 / (n + 1)) ** (gamma + 1))


def exponent(sigma_rel: float) -> float:
    """Return gamma, at which the density (gamma + 1) x^gamma on [0, 1] has this deviation.

    That is the largest root of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / sigma_rel^2 (EDM2,
    Algorithm 2); it is above 0 where sigma_rel is below 12^(-1/2) = 0.289.
    """
    rate = sigma_rel**-2
    return float(np.roots([1, 7, 16 - rate, 12 - rate]).real.max())
