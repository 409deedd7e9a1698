"""How a batch advances: gather the chains' states, one network call, one update, scatter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.draws import Draw, Draws
from app.engine.messages import Submit
from app.engine.runtime import Runtime
from app.engine.scheduler import Chain
from diffusion.samplers import SamplerTable, combine_guided, step

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""x_t, t and label, a row for each."""


@dataclass(frozen=True)
class JobData:
    """What the runner needs of a job beyond its chains."""

    seed: int
    guidance: float
    table: SamplerTable

    @classmethod
    def of(cls, submit: Submit, table: SamplerTable) -> "JobData":
        return cls(submit.seed, submit.guidance, table)


class ChainStep(NamedTuple):
    """One chain's step, each (C,H,W): the state it was in, what the model made of it, the next; and
    whether that is all numbers."""

    x_t: Tensor
    x_0_hat: Tensor
    x_prev: Tensor
    is_finite: bool


def is_out_of_memory(error: Exception) -> bool:
    """Did the device, or this machine, have no memory left?"""
    signs = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


class Call(NamedTuple):
    """A network call that has begun, and what the step needs besides."""

    batch: Sequence[Chain]
    x_t: Tensor
    x_0_hat_previous: Tensor | None  # None where no chain needs it, as z
    z: Tensor | None
    table_rows: Tensor  # of the samplers' tables
    guided: tuple[Tensor, Tensor] | None  # which chains have a second row, and their guidance
    out: Callable[[], Tensor]  # the network's output, once it is there


class State(NamedTuple):
    """A paused chain: all there is to it."""

    x_t: Tensor
    x_0_hat: Tensor  # of the step before, for multistep samplers


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
        self._states: dict[Chain, State] = {}
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
        return self.finish(self.begin(batch, None))

    @torch.inference_mode()
    def begin(self, batch: Sequence[Chain], lane: int | None) -> Call:
        """Begin a step of every chain of the batch, on a free lane of the runtime or on all of the
        device; `finish` ends it, on a lane once the runtime says that it is done."""
        x_T, z = self._noise(batch)
        states = [self._states.get(chain) for chain in batch]
        x_t = torch.stack([s.x_t if s else x_T[i] for i, s in enumerate(states)])
        tables = [self.jobs[chain.job.id].table for chain in batch]
        at = [(table, chain.position) for table, chain in zip(tables, batch, strict=True)]
        previous = None
        if any(table.looks_back[k] for table, k in at):
            zero = torch.zeros_like(x_t[0])
            previous = torch.stack([s.x_0_hat if s else zero for s in states])
        table_rows = torch.stack([table.by_step[k] for table, k in at])
        guided, inputs = self._inputs(batch, x_t)
        out = self._network(inputs, lane)
        return Call(batch, x_t, previous, z, table_rows, guided, out)

    def wait(self) -> int:
        """The lane of a call that can be finished, once there is one."""
        if self.runtime.lanes is None:
            raise RuntimeError("a runtime without lanes")
        return self.runtime.lanes.wait()

    @torch.inference_mode()
    def finish(self, call: Call) -> list[ChainStep]:
        """What the step made of every chain, each the state that its next step begins with."""
        out = self._out(call)
        x_prev, x_0_hat = step(
            call.x_t, out, call.x_0_hat_previous, call.z, call.table_rows, self.clip
        )
        is_finite = [True] * len(x_prev)
        if not isfinite(x_prev.sum().item()):
            low, high = (ends.tolist() for ends in x_prev.flatten(1).aminmax(dim=1))
            is_finite = [isfinite(a) and isfinite(b) for a, b in zip(low, high, strict=True)]
        images = (tensor.unbind() for tensor in (call.x_t, x_0_hat, x_prev))
        steps = [ChainStep(*columns) for columns in zip(*images, is_finite, strict=True)]
        self._states.update(
            (chain, State(s.x_prev, s.x_0_hat)) for chain, s in zip(call.batch, steps, strict=True)
        )
        return steps

    def forget(self, chains: Sequence[Chain]) -> None:
        """Drop the states of finished or cancelled chains."""
        for chain in chains:
            self._states.pop(chain, None)
            self._draws.forget(chain)

    def _noise(self, batch: Sequence[Chain]) -> tuple[dict[int, Tensor], Tensor | None]:
        """x_T of the chains that begin, by place in the batch; and z (B,C,H,W), 0 for chains whose
        step adds no noise, or None where none does."""
        begin, noisy = {}, {}
        for i, chain in enumerate(batch):
            job = self.jobs[chain.job.id]
            last = job.table.last_draw
            if chain.position == 0:
                begin[i] = Draw(chain, job.seed, 0, last)
            if job.table.is_noisy[chain.position]:
                noisy[i] = Draw(chain, job.seed, chain.position + 1, last)
        x_T = dict(zip(begin, self._draws.take(list(begin.values())), strict=True))
        if not noisy:
            return x_T, None
        z = dict(zip(noisy, self._draws.take(list(noisy.values())), strict=True))
        zero = torch.zeros(self.shape, device=self.runtime.device)
        return x_T, torch.stack([z.get(i, zero) for i in range(len(batch))])

    def _inputs(
        self, batch: Sequence[Chain], x_t: Tensor
    ) -> tuple[tuple[Tensor, Tensor] | None, Inputs]:
        """What the network is given: a row for each chain, and a second one, without the label, for
        those of jobs that ask for guidance."""
        device = x_t.device
        jobs = [self.jobs[chain.job.id] for chain in batch]
        times = [job.table.times[c.position] for job, c in zip(jobs, batch, strict=True)]
        t = torch.tensor(times, device=device)
        label = None
        if batch[0].label is not None:
            label = torch.tensor([chain.label for chain in batch], device=device)
        guided = [i for i, job in enumerate(jobs) if job.guidance]
        if not guided or label is None or self.null_label is None:
            return None, (x_t, t, label)
        extra = torch.tensor(guided, device=device)
        w = torch.tensor([jobs[i].guidance for i in guided], dtype=torch.float64, device=device)
        label = torch.cat([label, torch.full_like(extra, self.null_label)])
        return (extra, w), (torch.cat([x_t, x_t[extra]]), torch.cat([t, t[extra]]), label)

    def _network(self, inputs: Inputs, lane: int | None) -> Callable[[], Tensor]:
        """Run the network, or begin to; the batch is padded to the next of the sizes with its last
        row."""
        x_t, t, label = inputs
        B = len(x_t)
        share = 1 if lane is None else self.num_lanes
        size = next(n // share for n in self.batch_sizes if n % share == 0 and n // share >= B)
        self.last_call = (size, B)
        if size > B:
            rows = torch.arange(size, device=x_t.device).clamp(max=B - 1)
            x_t, t = x_t[rows], t[rows]
            label = None if label is None else label[rows]
        if lane is None or self.runtime.lanes is None:
            out = self.runtime(x_t, t, label)
            return lambda: out
        self.runtime.lanes.start(lane, x_t, t, label)
        return partial(self.runtime.lanes.result, lane)

    def _out(self, call: Call) -> Tensor:
        """The model's output, guided where a job asks for it."""
        both, B = call.out(), len(call.batch)
        out = both[:B]
        if call.guided is not None:
            extra, w = call.guided
            out_null = both[B : B + len(extra)]
            out[extra] = combine_guided(out[extra], out_null, w, num_channels=self.shape[0])
        return out

    @property
    def num_lanes(self) -> int:
        """Batches at once, at most."""
        return self.runtime.lanes.num_lanes if self.runtime.lanes is not None else 1
