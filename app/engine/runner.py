"""How a batch advances: gather the chains' states, one network call, one update, scatter."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.noise_ahead import Draw, Draws
from app.engine.runtime import Runtime
from app.engine.scheduler import Chain
from app.engine.steps_ahead import Course
from app.wire.messages import Submit
from diffusion.samplers import SamplerTable, combine_guided, step

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""x_t, t and label, a network row each."""


@dataclass(frozen=True)
class JobData:
    """What the runner needs of a job beyond its chains."""

    seed: int
    guidance: float
    table: SamplerTable

    @classmethod
    def of(cls, submit: Submit, table: SamplerTable) -> "JobData":
        return cls(submit.seed, submit.guidance, table)


@dataclass(frozen=True, eq=False, slots=True)
class BatchStep:
    """A batch's step, each (B,C,H,W): the states it was in, what the model made of them, the next;
    and which of these are all numbers."""

    x_t: Tensor
    x_0_hat: Tensor
    x_prev: Tensor
    is_finite: Sequence[bool]

    def parts(self) -> "list[ChainStep]":
        """Each chain's, in the batch's order."""
        return [ChainStep(self, row) for row in range(len(self.is_finite))]


class ChainStep(NamedTuple):
    """One chain's part of it, each (C,H,W), looked up when it is asked for: few are."""

    batch: BatchStep
    row: int

    @property
    def x_t(self) -> Tensor:
        """The state it was in."""
        return self.batch.x_t[self.row]

    @property
    def x_0_hat(self) -> Tensor:
        """What the model made of it."""
        return self.batch.x_0_hat[self.row]

    @property
    def x_prev(self) -> Tensor:
        """The next state."""
        return self.batch.x_prev[self.row]

    @property
    def is_finite(self) -> bool:
        """Is that all numbers?"""
        return self.batch.is_finite[self.row]

    def copy(self) -> "ChainStep":
        """The same without the other chains, which it otherwise keeps in memory."""
        whole, own = self.batch, slice(self.row, self.row + 1)
        x_t, x_0_hat = whole.x_t[own].clone(), whole.x_0_hat[own].clone()
        return ChainStep(BatchStep(x_t, x_0_hat, whole.x_prev[own].clone(), [self.is_finite]), 0)


def is_out_of_memory(error: Exception) -> bool:
    """Did the device, or this machine, have no memory left?"""
    signs = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


class Call(NamedTuple):
    """A network call that is prepared, and what the step needs besides."""

    batch: Sequence[Chain]
    lane: int | None  # None: all of the device
    inputs: Inputs
    x_t: Tensor
    x_0_hat_previous: Tensor | None  # None where no chain needs it, as z
    z: Tensor | None
    table_rows: Tensor  # of the samplers' tables
    guided: tuple[Tensor, Tensor] | None  # which chains have a second row, and their guidance


@dataclass(frozen=True, eq=False, slots=True)
class Roster:
    """What is the same at every step of a batch while its chains are."""

    chains: Sequence[Chain]
    jobs: Sequence[JobData]  # of each chain
    label: Tensor | None  # of each network row
    guided: tuple[Tensor, Tensor] | None  # which chains have a second row, and their guidance
    course: Course


class Runner:
    """Owns the states of all chains that have begun."""

    def __init__(
        self,
        runtime: Runtime,
        batch_sizes: tuple[int, ...],
        shape: tuple[int, int, int],
        clip: float | None,
        null_label: int | None,
    ) -> None:
        self.runtime = runtime
        self.shape = shape
        self.clip = clip
        self.null_label = null_label
        self.batch_sizes = batch_sizes
        self.jobs: dict[str, JobData] = {}
        self.last_call = (0, 0)  # batch size and rows of the last network call
        self._states: dict[Chain, ChainStep] = {}
        self._rosters: dict[int | None, Roster] = {}  # of the last batch, by lane
        self._draws = Draws(shape, runtime.device)

    @property
    def max_rows(self) -> int:
        """Network rows in one call, at most."""
        return self.batch_sizes[-1]

    def halve(self) -> bool:
        """Make batches at most half as large, now that memory has run out; False at one row."""
        half = self.max_rows // 2
        if not half:
            return False
        self.batch_sizes = tuple(size for size in self.batch_sizes if size <= half) or (half,)
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    def step(self, batch: Sequence[Chain]) -> list[ChainStep]:
        """Advance every chain of the batch by one step, on the whole device."""
        call = self.begin(batch, None)
        return self.finish(call, self.run(call))

    def begin(self, batch: Sequence[Chain], lane: int | None) -> Call:
        """Prepare a step of every chain of the batch, on a lane of the runtime or on all of the
        device; `run` does the network's part of it, `finish` the rest. Only `run` may be called
        while other batches are prepared, run and finished, each on a lane of its own."""
        roster, at = self._roster(batch, lane)
        course = roster.course
        begins = any(chain.position == 0 for chain in batch)
        x_T, z = self._noise(roster) if begins or course.is_noisy[at] else ({}, None)
        x_t, previous = self._gather(batch, x_T)
        if not course.looks_back[at]:
            previous = None
        inputs = self._padded(self._inputs(roster, x_t, course.t[at]), lane)
        return Call(batch, lane, inputs, x_t, previous, z, course.rows[at], roster.guided)

    def run(self, call: Call) -> Tensor:
        """The network's output, a row for each of its inputs; on a lane good until its next."""
        if call.lane is None or self.runtime.lanes is None:
            return self.runtime(*call.inputs)
        return self.runtime.lanes.run(call.lane, *call.inputs)

    def finish(self, call: Call, out: Tensor) -> list[ChainStep]:
        """What the step made of every chain, each the state that its next step begins with."""
        out = self._out(call, out)
        x_prev, x_0_hat = step(
            call.x_t, out, call.x_0_hat_previous, call.z, call.table_rows, self.clip
        )
        is_finite = [True] * len(call.batch)
        if not isfinite(x_prev.sum().item()):
            low, high = (ends.tolist() for ends in x_prev.flatten(1).aminmax(dim=1))
            is_finite = [isfinite(a) and isfinite(b) for a, b in zip(low, high, strict=True)]
        done = BatchStep(call.x_t, x_0_hat, x_prev, is_finite)
        steps = done.parts()
        self._states.update(zip(call.batch, steps, strict=True))
        return steps

    def forget(self, chains: Sequence[Chain]) -> None:
        """Drop the states of finished or cancelled chains."""
        for chain in chains:
            self._states.pop(chain, None)
            self._draws.forget(chain)

    def _roster(self, batch: Sequence[Chain], lane: int | None) -> tuple[Roster, int]:
        """Of the batch, and at which step of its course this is; the last one's where the chains
        are the same. Those that were in it and are no longer keep their states, but not the
        others'."""
        positions = [chain.position for chain in batch]
        last = self._rosters.get(lane)
        if last is not None and last.chains == batch:
            at = last.course.step(positions)
            if at is not None:
                return last, at
        elif last is not None:
            for chain in set(last.chains).difference(batch):
                if chain in self._states:
                    self._states[chain] = self._states[chain].copy()
        jobs = [self.jobs[chain.job.id] for chain in batch]
        course = Course.of([job.table for job in jobs], positions, self.runtime.device)
        roster = Roster(list(batch), jobs, *self._labels(batch, jobs), course)
        self._rosters[lane] = roster
        return roster, 0

    def _labels(
        self, batch: Sequence[Chain], jobs: Sequence[JobData]
    ) -> tuple[Tensor | None, tuple[Tensor, Tensor] | None]:
        """Of each network row; and which chains have a second one, and their guidance."""
        labels = [chain.label for chain in batch]
        if labels[0] is None:
            return None, None
        places = [i for i, job in enumerate(jobs) if job.guidance]
        if self.null_label is None or not places:
            return self._tensor(labels), None
        w = self._tensor([jobs[i].guidance for i in places], torch.float64)
        return self._tensor(labels + [self.null_label] * len(places)), (self._tensor(places), w)

    def _inputs(self, roster: Roster, x_t: Tensor, t: Tensor) -> Inputs:
        """A network row for each chain, and a second one, without the label, for guided ones."""
        if roster.guided is None:
            return x_t, t, roster.label
        extra, _ = roster.guided
        return torch.cat([x_t, x_t[extra]]), torch.cat([t, t[extra]]), roster.label

    def _gather(
        self, batch: Sequence[Chain], x_T: dict[int, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """x_t, and the x_0_hat of the step before where there was one, (B,C,H,W): those that their
        last step left where that was together."""
        states = [self._states.get(chain) for chain in batch]
        first = states[0]
        if first is not None and states == first.batch.parts():
            return first.batch.x_prev, first.batch.x_0_hat
        zero = torch.zeros(self.shape, device=self.runtime.device)
        x_t = torch.stack([s.x_prev if s else x_T[i] for i, s in enumerate(states)])
        return x_t, torch.stack([s.x_0_hat if s else zero for s in states])

    def _noise(self, roster: Roster) -> tuple[dict[int, Tensor], Tensor | None]:
        """x_T of the chains that begin, by place in the batch; and z (B,C,H,W), 0 for chains whose
        step adds no noise, or None where none does."""
        begin, noisy = {}, {}
        for i, (chain, job) in enumerate(zip(roster.chains, roster.jobs, strict=True)):
            if chain.position == 0:
                begin[i] = Draw(chain, job.seed, 0, job.table.last_draw)
            if job.table.is_noisy[chain.position]:
                noisy[i] = Draw(chain, job.seed, chain.position + 1, job.table.last_draw)
        x_T = dict(zip(begin, self._draws.take(list(begin.values())), strict=True))
        if not noisy:
            return x_T, None
        z = dict(zip(noisy, self._draws.take(list(noisy.values())), strict=True))
        zero = torch.zeros(self.shape, device=self.runtime.device)
        return x_T, torch.stack([z.get(i, zero) for i in range(len(roster.chains))])

    def _tensor(self, numbers: Sequence[object], dtype: torch.dtype | None = None) -> Tensor:
        return torch.tensor(numbers, dtype=dtype, device=self.runtime.device)

    def _padded(self, inputs: Inputs, lane: int | None) -> Inputs:
        """The batch padded to the next of the sizes with its last row."""
        x_t, t, label = inputs
        B = x_t.shape[0]  # len() of a tensor is Python's, and slow
        share = 1 if lane is None else self.num_lanes
        size = next(n // share for n in self.batch_sizes if n % share == 0 and n // share >= B)
        self.last_call = (size, B)
        if size == B:
            return inputs
        rows = torch.arange(size, device=x_t.device).clamp(max=B - 1)
        return x_t[rows], t[rows], None if label is None else label[rows]

    def _out(self, call: Call, both: Tensor) -> Tensor:
        """A row for each chain, guided where a job asks for it."""
        B = len(call.batch)
        out = both if both.shape[0] == B else both[:B]
        if call.guided is None:
            return out
        extra, w = call.guided
        out_null = both[B : B + len(extra)]
        both_given = combine_guided(out[extra], out_null, w, num_channels=self.shape[0])
        return out.index_copy(0, extra, both_given)

    @property
    def num_lanes(self) -> int:
        """Batches at once, at most."""
        return self.runtime.lanes.num_lanes if self.runtime.lanes is not None else 1
