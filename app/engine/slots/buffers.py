"""The memory of a device on which chains have slots, made once: recorded steps keep its addresses.

M slots hold states. Rows that are no chain's, null rows and padding, own a slot each behind them,
which is written and never read: no two rows of a batch write to the same place.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum, auto
from typing import NamedTuple, Self

import torch
from torch import Tensor

from diffusion.sampler_table import HISTORY, StepCoefficients

MAX_STEPS = 16
"""Steps of a batch, at most."""
COEFFICIENTS = len(StepCoefficients._fields)
PLAN = COEFFICIENTS + 3
"""Numbers that a row's step takes: its coefficients, 1 + w and w, and the limit of x_0_hat."""
PICTURES = 3
"""What leaves of a state: x_t, x_0_hat and x_prev."""


class Form(NamedTuple):
    """What the network takes and gives: its image shape, its output's channels, its labels."""

    shape: tuple[int, int, int]  # C, H, W
    out_channels: int
    is_conditional: bool
    null_label: int | None


class Row(IntEnum):
    """What a batch tells of each of its network rows, for its first step: the rows of
    `Batch.rows`."""

    SEED = 0
    INDEX = auto()
    LABEL = auto()
    READ = auto()  # the slot of the state
    WRITE = auto()  # the slot of the next state
    NULL = auto()  # the row of the same chain without its label; -1: none
    DRAW = auto()  # the chain's position
    LEFT = auto()  # steps that the chain takes; 0: the row is no chain's
    FRESH = auto()  # 1: the chain's first state is noise; 0: it has been sent
    KNOWN = auto()  # the place of what is known of the image; -1: nothing is


@dataclass(frozen=True)
class States:
    """The chains' states, and the ring of what leaves; D = C H W numbers an image."""

    x: Tensor  # (M + B, D) float32
    past: Tensor  # (M + B, HISTORY, D): what the step at position k remembers is at k mod HISTORY
    ring: Tensor  # (R + B, PICTURES, D); the last B places are of rows of which nothing leaves
    known: Tensor  # (K, 2, D), of chains with a mask: x_0, and the mask of each of its numbers
    num_slots: int  # M
    num_places: int  # R

    @classmethod
    def zeros(
        cls, num_slots: int, max_rows: int, num_places: int, D: int, device: torch.device
    ) -> Self:
        """For M slots and batches of up to B rows. Twice as many chains may have a mask."""
        x = torch.zeros(num_slots + max_rows, D, device=device)
        past = torch.zeros(num_slots + max_rows, HISTORY, D, device=device)
        ring = torch.zeros(num_places + max_rows, PICTURES, D, device=device)
        known = torch.zeros(2 * max_rows, 2, D, device=device)
        return cls(x, past, ring, known, num_slots, num_places)


@dataclass(frozen=True)
class Told:
    """What the host tells of a batch before it begins: of the device, or the same on the host."""

    rows: Tensor  # (len(Row), B) int64
    t: Tensor  # (MAX_STEPS, B) int64, what the network is told in each step
    plan: Tensor  # (MAX_STEPS, B, PLAN) float32
    places: Tensor  # (MAX_STEPS, B) int64, of the ring; -1 where nothing leaves
    clock: Tensor  # (1,) int64, which step it is

    def map(self, of: Callable[[Tensor], Tensor]) -> Self:
        """Make something of each of its tensors, and keep that under the same names."""
        return type(self)(*(of(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True)
class Network:
    """What the network takes and gives."""

    x_t: Tensor  # (B,C,H,W) float32
    t: Tensor  # (B,) int64
    label: Tensor | None  # (B,) int64
    out: Tensor  # (B,C or 2C,H,W) float32


@dataclass(frozen=True)
class StepBuffers:
    """All that a recorded step of B rows reads and writes beside the states."""

    told: Told
    network: Network
    bad: Tensor  # (MAX_STEPS, B) bool: after that step the row's state is not a number

    @classmethod
    def zeros(cls, size: int, form: Form, device: torch.device) -> Self:
        """For batches of so many rows."""
        C, H, W = form.shape

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        told = Told(
            rows=zeros(len(Row), size, dtype=torch.int64),
            t=zeros(MAX_STEPS, size, dtype=torch.int64),
            plan=zeros(MAX_STEPS, size, PLAN),
            places=zeros(MAX_STEPS, size, dtype=torch.int64),
            clock=zeros(1, dtype=torch.int64),
        )
        network = Network(
            x_t=zeros(size, C, H, W),
            t=zeros(size, dtype=torch.int64),
            label=zeros(size, dtype=torch.int64) if form.is_conditional else None,
            out=zeros(size, form.out_channels, H, W),
        )
        return cls(told, network, zeros(MAX_STEPS, size, dtype=torch.bool))
