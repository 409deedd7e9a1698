"""What the next steps of a batch need to know, looked up for several of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffusion.samplers import SamplerTable

AHEAD = 64
"""Steps that are looked up at once, at most."""


@dataclass(frozen=True, eq=False, slots=True)
class Course:
    """H steps of B chains that advance together, each at a position of its own table: `t` (H,B)
    int64 and `rows` (H,B,8,1,1,1) are what the network is told and what `samplers.step` takes;
    does any of the chains need the x_0_hat of the step before, or noise?"""

    positions: Sequence[int]  # at the first of the steps
    t: Tensor
    rows: Tensor
    looks_back: Sequence[bool]
    is_noisy: Sequence[bool]

    @classmethod
    def of(
        cls, tables: Sequence[SamplerTable], positions: Sequence[int], device: torch.device
    ) -> Self:
        """From these positions on."""
        at = list(zip(tables, positions, strict=True))
        H = min(AHEAD, *(len(table) - k for table, k in at))
        looks_back = zip(*(table.looks_back[k : k + H] for table, k in at), strict=True)
        is_noisy = zip(*(table.is_noisy[k : k + H] for table, k in at), strict=True)
        return cls(
            positions,
            torch.stack([table.t[k : k + H] for table, k in at], dim=1).to(device),
            torch.stack([table.rows[k : k + H] for table, k in at], dim=1),
            [any(chains) for chains in looks_back],
            [any(chains) for chains in is_noisy],
        )

    def step(self, positions: Sequence[int]) -> int | None:
        """At which of the steps the chains are; None where at none."""
        taken = positions[0] - self.positions[0]
        if not 0 <= taken < len(self.is_noisy):
            return None
        together = all(
            now - then == taken for now, then in zip(positions, self.positions, strict=True)
        )
        return taken if together else None
