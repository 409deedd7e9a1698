"""The exponential moving average of the weights: what is evaluated, exported and served."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """An exponential moving average of a model's parameters, with warm-up.

    The decay at update n is min(decay, (1 + n) / (10 + n)). Without this warm-up the average would
    keep much of the random initial weights for about 1 / (1 - decay) updates.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: M, num_updates: int) -> None:
        """Move the average towards `model`; `num_updates` counts the updates before this one."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
