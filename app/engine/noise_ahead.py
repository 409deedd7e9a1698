"""The noise of chains, made for several steps at once: many rows take hardly longer than few."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.scheduler import Chain
from diffusion import noise

AHEAD = 8
"""Draws of a chain that are made at once, at most."""
MAX_NUMBERS = 1 << 16
"""In all that is made ahead at once: of larger images one takes longer than what a call costs."""


class Draw(NamedTuple):
    """Draw 0 of a sample is its x_T, draw k + 1 the z at position k, as in `samplers.sample`."""

    chain: Chain
    seed: int
    number: int
    last: int  # that the chain will need


class Draws:
    """Makes each draw once, shortly before it is needed."""

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.shape = shape
        self.device = device
        self._made: dict[Chain, dict[int, Tensor]] = {}

    def __len__(self) -> int:
        """Chains with draws that have not been taken."""
        return len(self._made)

    def take(self, wanted: Sequence[Draw]) -> list[Tensor]:
        """Each (C,H,W), at most one of a chain. Where one has not been made, now the next ones of
        all these chains are."""
        made = [self._made.setdefault(draw.chain, {}) for draw in wanted]
        if any(draw.number not in has for draw, has in zip(wanted, made, strict=True)):
            self._make(wanted)
        return [has.pop(draw.number) for draw, has in zip(wanted, made, strict=True)]

    def forget(self, chain: Chain) -> None:
        """A chain that is finished or cancelled."""
        self._made.pop(chain, None)

    def _make(self, wanted: Sequence[Draw]) -> None:
        ahead = MAX_NUMBERS // (len(wanted) * math.prod(self.shape))
        missing = [
            (draw, number)
            for draw in wanted
            for number in range(draw.number, draw.number + max(1, min(ahead, AHEAD)))
            if number <= draw.last and number not in self._made[draw.chain]
        ]
        columns = [(draw.seed, draw.chain.index, number) for draw, number in missing]
        seeds, indices, numbers = torch.tensor(columns, device=self.device).unbind(dim=1)
        rows = noise.normal(seeds, indices, numbers, self.shape)
        for (draw, number), row in zip(missing, rows, strict=True):
            is_taken_now = number == draw.number  # else a view would keep all of them
            self._made[draw.chain][number] = row if is_taken_now else row.clone()
