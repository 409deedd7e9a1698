"""What happens in a step before the network and after it, for all rows of a batch at once."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from app.engine.slots.buffers import COEFFICIENTS, Row, States, StepBuffers, Told
from diffusion import noise
from diffusion.reverse import Known, remember, step, with_known
from diffusion.sampler_table import HISTORY, StepCoefficients

LIMIT = COEFFICIENTS + 2
"""Where in a plan's row the limit of x_0_hat is."""


class Kernels(Protocol):
    """The two halves of a step around the network. Neither waits for the device, and all that they
    look up is on it, so that a step can be recorded."""

    clip: float | None
    """The network's limit of x_0_hat. Where it has one, a plan says the limit of each row."""

    def enter(self, states: States, buffers: StepBuffers) -> None:
        """Write what the network takes. The first state of a chain that is fresh is noise."""

    def leave(self, states: States, buffers: StepBuffers) -> None:
        """Take the step by what the network gave, write the next states and what leaves, and set
        the clock one further."""


class ReferenceKernels:
    """The kernels as PyTorch operations: those of `diffusion.noise` and `diffusion.reverse`."""

    def __init__(self, clip: float | None) -> None:
        self.clip = clip

    def enter(self, states: States, buffers: StepBuffers) -> None:
        """As in `Kernels`."""
        told, network = buffers.told, buffers.network
        seed, index, label, read = told.rows[:4]
        x_t = states.x.index_select(0, read)
        x_T = noise.normal(seed, index, torch.zeros_like(seed), x_t.shape[1:])
        begins = told.rows[Row.DRAW] + told.clock == 0
        begins = (begins & (told.rows[Row.FRESH] > 0))[:, None]
        network.x_t.copy_(torch.where(begins, x_T, x_t).view_as(network.x_t))
        network.t.copy_(_now(told.t, told.clock))
        if network.label is not None:
            network.label.copy_(label)

    def leave(self, states: States, buffers: StepBuffers) -> None:
        """As in `Kernels`."""
        told, network = buffers.told, buffers.network
        plan = _now(told.plan, told.clock)
        rows = plan[:, :COEFFICIENTS, None, None, None]
        position = told.rows[Row.DRAW] + told.clock
        x_t, shape = network.x_t, network.x_t.shape
        x_prev, x_0_hat = step(
            x_t,
            _guided(network.out, told.rows[Row.NULL], plan[:, COEFFICIENTS:LIMIT], shape[1]),
            [m.view(shape) for m in _history(states, told, position, rows)],
            _noise(told, position, rows, x_t[0].numel()).view(shape),
            rows,
            None if self.clip is None else plan[:, LIMIT, None, None, None],
        )
        x_prev = _with_known(states, told, position, rows, x_prev)
        made = Pictures(x_t, x_0_hat, x_prev).flat()
        m = remember(x_t, x_0_hat, rows).flatten(1)
        self._write(states, buffers, made, m, position)

    def _write(
        self, states: States, buffers: StepBuffers, made: "Pictures", m: Tensor, position: Tensor
    ) -> None:
        told = buffers.told
        is_taken = told.rows[Row.LEFT] > told.clock
        row = torch.arange(len(position), device=position.device)
        slot = torch.where(is_taken, told.rows[Row.WRITE], states.num_slots + row)
        states.x.index_copy_(0, slot, made.x_prev)
        states.past.view(-1, m.shape[1]).index_copy_(0, slot * HISTORY + position % HISTORY, m)
        place = _now(told.places, told.clock)
        place = torch.where(place >= 0, place, states.num_places + row)
        states.ring.index_copy_(0, place, torch.stack(made, dim=1))
        bad = is_taken & ~made.x_prev.isfinite().all(dim=1)
        buffers.bad.index_copy_(0, told.clock, bad[None])
        told.clock.add_(1)


class Pictures(NamedTuple):
    """What a step leaves of each row's state, each (B,C,H,W) or (B,D)."""

    x_t: Tensor
    x_0_hat: Tensor
    x_prev: Tensor

    def flat(self) -> "Pictures":
        """The pictures as rows, (B,D)."""
        return Pictures(*(x.flatten(1) for x in self))


def _now(of_steps: Tensor, clock: Tensor) -> Tensor:
    """What a table that has a row for each step says of this one."""
    return of_steps.index_select(0, clock)[0]


def _guided(out: Tensor, null_row: Tensor, weights: Tensor, C: int) -> Tensor:
    """The network's output, guided in the rows that have a null row; `weights` (B,2): 1 + w, w."""
    with_label, without = (w[:, None, None, None] for w in weights.unbind(1))
    out_null = out.index_select(0, null_row.clamp(min=0))
    # As in diffusion.guidance.combine_guided, which rounds 1 + w and w in the same way
    eps_hat = with_label * out[:, :C] - without * out_null[:, :C]
    eps_hat = torch.where(null_row[:, None, None, None] >= 0, eps_hat, out[:, :C])
    return torch.cat([eps_hat, out[:, C:]], dim=1)


def _history(states: States, told: Told, position: Tensor, rows: Tensor) -> list[Tensor]:
    """What the last steps remember, the latest first, each (B,D); 0 where a step does not ask:
    what is there may be of another chain, and no number."""
    past = states.past.flatten(0, 1)
    history = []
    for back, c_h in enumerate(StepCoefficients.of(rows).c_h, start=1):
        column = (position - back) % HISTORY
        m = past.index_select(0, told.rows[Row.READ] * HISTORY + column)
        history.append(torch.where(c_h.flatten(1) != 0, m, 0.0))
    return history


def _with_known(
    states: States, told: Told, position: Tensor, rows: Tensor, x_prev: Tensor
) -> Tensor:
    """The next states, in which what is known of an image has been drawn anew; the other rows as
    they are."""
    place, shape = told.rows[Row.KNOWN], x_prev.shape
    x_0, mask = (x.view(shape) for x in states.known[place.clamp(min=0)].unbind(1))
    draws = position + (noise.KNOWN + 1)
    w = noise.normal(told.rows[Row.SEED], told.rows[Row.INDEX], draws, tuple(shape[1:]))
    drawn = with_known(x_prev, Known(x_0, mask), w, rows)
    return torch.where((place >= 0)[:, None, None, None], drawn, x_prev)


def _noise(told: Told, position: Tensor, rows: Tensor, D: int) -> Tensor:
    """z of the step, (B,D); 0 in rows that add none."""
    z = noise.normal(told.rows[Row.SEED], told.rows[Row.INDEX], position + 1, (D,))
    return torch.where(StepCoefficients.of(rows).c_z.flatten(1) != 0, z, 0.0)
