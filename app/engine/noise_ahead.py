"""Makes the noise of chains for several steps at once: many rows take hardly longer than few."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.job import Chain
from diffusion import noise

AHEAD = 8
"""Draws of a chain that are made at once, at most."""
MAX_NUMBERS = 1 << 16
"""Numbers that are made at once, at most: with more of them a call costs nothing beside the work,
so that making several steps' at once saves no time."""


class Draw(NamedTuple):
    """Names a chain's noise: draw 0 is its x_T, draw k + 1 its z at position k, and noise.KNOWN + k
    + 1 the noise of what is known of its image, as in `diffusion.reverse.sample`."""

    chain: Chain
    number: int

    @property
    def last(self) -> int:
        """The number of the last draw of this kind that the chain needs."""
        job = self.chain.job
        is_known = self.number > noise.KNOWN
        return noise.KNOWN + job.num_steps if is_known else job.table.last_draw


class NoiseAhead:
    """Makes each draw once, shortly before it is needed."""

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.shape = shape
        self.device = device
        self._made: dict[Chain, dict[int, Tensor]] = {}

    def __len__(self) -> int:
        """The number of chains with draws that have not been taken."""
        return len(self._made)

    def take(self, wanted: Sequence[Draw]) -> list[Tensor]:
        """Return each draw, (C,H,W), at most one of a chain. Where one of them has not been made
        yet, the next ones of all these chains are made."""
        made = [self._made.setdefault(draw.chain, {}) for draw in wanted]
        if any(draw.number not in has for draw, has in zip(wanted, made, strict=True)):
            self._make(wanted)
        return [has.pop(draw.number) for draw, has in zip(wanted, made, strict=True)]

    def forget(self, chain: Chain) -> None:
        """Drop what was made for a chain that is finished or cancelled."""
        self._made.pop(chain, None)

    def _make(self, wanted: Sequence[Draw]) -> None:
        ahead = MAX_NUMBERS // (len(wanted) * math.prod(self.shape))
        missing = [
            (draw, number)
            for draw in wanted
            for number in range(draw.number, draw.number + max(1, min(ahead, AHEAD)))
            if number <= draw.last and number not in self._made[draw.chain]
        ]
        columns = [
            (draw.chain.job.seed, draw.chain.noise_index, number) for draw, number in missing
        ]
        seeds, indices, numbers = torch.tensor(columns, device=self.device).unbind(dim=1)
        rows = noise.normal(seeds, indices, numbers, self.shape)
        for (draw, number), row in zip(missing, rows, strict=True):
            is_taken_now = number == draw.number  # else a view would keep all of them
            self._made[draw.chain][number] = row if is_taken_now else row.clone()
