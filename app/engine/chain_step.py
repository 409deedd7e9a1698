"""What a step did, to a whole batch and to each of its chains, and what of it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.board import Made, Shown
from app.engine.job import Chain


@dataclass(frozen=True, eq=False, slots=True)
class BatchStep:
    """What a step did to a batch, each (B,C,H,W): the states that it was in, what the model made of
    them, and the next states; which of these are all numbers; and what this step and the ones
    before remember, the latest first, as far back as any chain of the batch looks."""

    x_t: Tensor
    x_0_hat: Tensor
    x_prev: Tensor
    is_finite: Sequence[bool]
    history: Sequence[Tensor]

    def of_each(self) -> "list[ChainStep]":
        """What the step did to each chain, in the batch's order."""
        return [ChainStep(self, row) for row in range(len(self.is_finite))]


class ChainStep(NamedTuple):
    """What a step did to one chain: a row of the batch's tensors, which is looked up only when it
    is asked for."""

    batch: BatchStep
    row: int

    @property
    def x_t(self) -> Tensor:
        """The state that the chain was in, (C,H,W)."""
        return self.batch.x_t[self.row]

    @property
    def x_0_hat(self) -> Tensor:
        """What the model made of that state, (C,H,W)."""
        return self.batch.x_0_hat[self.row]

    @property
    def x_prev(self) -> Tensor:
        """The chain's next state, (C,H,W)."""
        return self.batch.x_prev[self.row]

    @property
    def is_finite(self) -> bool:
        """Is the next state all numbers?"""
        return self.batch.is_finite[self.row]

    def remembered(self, j: int) -> Tensor | None:
        """What this step (j = 0), or the j-th before it, remembers, (C,H,W); None where the chain
        was in no batch that looked so far back."""
        return self.batch.history[j][self.row] if j < len(self.batch.history) else None

    def copy(self) -> "ChainStep":
        """A copy that does not keep the other chains' rows in memory."""
        whole, own = self.batch, slice(self.row, self.row + 1)
        x_t, x_0_hat, x_prev = (x[own].clone() for x in (whole.x_t, whole.x_0_hat, whole.x_prev))
        history = [m[own].clone() for m in whole.history]
        return ChainStep(BatchStep(x_t, x_0_hat, x_prev, [self.is_finite], history), 0)


def what_leaves(steps: Mapping[Chain, ChainStep]) -> Made:
    """What leaves the engine after a step of chains, which have not been counted one further."""
    return Made(
        [
            Shown(chain, chain.position, raw(step.x_t), raw(step.x_0_hat))
            for chain, step in steps.items()
            if chain.position in chain.job.shown
        ],
        {c: raw(s.x_prev) for c, s in steps.items() if c.position + 1 == c.job.num_steps},
        {c: c.position + 1 for c, s in steps.items() if not s.is_finite},
    )


def raw(image: Tensor) -> bytes:
    """float32 (C,H,W) as little-endian bytes."""
    return image.to("cpu", torch.float32).contiguous().numpy().tobytes()
