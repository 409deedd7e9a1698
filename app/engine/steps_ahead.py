"""Looks up what the next steps of a batch need from the samplers' tables, several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffusion.sampler_table import SamplerTable

AHEAD = 64
"""Steps that are looked up at once, at most."""


@dataclass(frozen=True, eq=False, slots=True)
class StepsAhead:
    """The next K steps of B chains that advance together, each at a position of its own table.

    `t` (K,B) int64 is what the network is told, `rows` (K,B,12,1,1,1) what `reverse.step` takes.
    `depth` is how many steps back any of the chains looks, `remembers_mix` whether any of them
    remembers another thing than x_0_hat; `is_noisy` tells of each step whether any needs noise.
    """

    positions: Sequence[int]  # of the chains, at the first of the steps
    t: Tensor
    rows: Tensor
    depth: int
    remembers_mix: bool
    is_noisy: Sequence[bool]

    @classmethod
    def of(
        cls,
        tables: Sequence[SamplerTable],
        positions: Sequence[int],
        device: torch.device,
        most: int = AHEAD,
    ) -> Self:
        """Look up the steps from these positions on, at most so many, up to the first chain's
        last."""
        at = list(zip(tables, positions, strict=True))
        K = min(AHEAD, most, *(len(table) - k for table, k in at))
        is_noisy = zip(*(table.is_noisy[k : k + K] for table, k in at), strict=True)
        return cls(
            positions,
            torch.stack([table.t[k : k + K] for table, k in at], dim=1).to(device),
            torch.stack([table.rows[k : k + K] for table, k in at], dim=1),
            max(table.depth for table in tables),
            any(table.remembers_mix for table in tables),
            [any(chains) for chains in is_noisy],
        )

    def find(self, positions: Sequence[int]) -> int | None:
        """The number of the step, from 0, at which the chains are now; None where they are at
        none."""
        taken = positions[0] - self.positions[0]
        if not 0 <= taken < len(self.is_noisy):
            return None
        together = all(
            now - then == taken for now, then in zip(positions, self.positions, strict=True)
        )
        return taken if together else None
