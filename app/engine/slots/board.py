"""Advances batches on a device that keeps the chains' states: the host tells what to do, some
batches ahead, and reads what leaves."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.engine.batch import LEAVING, Batch
from app.engine.board import Call, Made, Shown
from app.engine.job import Chain
from app.engine.slots.buffers import MAX_STEPS, Form, Row, States, StepBuffers, Told
from app.engine.slots.kernels import Kernels
from app.engine.slots.plans import Ints, Known, Plans
from app.engine.slots.queue import Mark, Queue

Model = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""The network: (x_t (B,C,H,W), t (B,), label (B,) or None) to eps_hat, or eps_hat and v."""


class Leaving(NamedTuple):
    """A state that leaves: that of a chain at a position, and the next."""

    chain: Chain
    position: int


@dataclass(eq=False, slots=True, kw_only=True)
class SlotCall(Call):
    """A batch that has been put into the device's queue."""

    mark: Mark  # behind it
    host: "Host"  # what it leaves there, once it is done
    starts: Sequence[int]  # each chain's position before it
    sent: Sequence[Tensor]  # what else is copied from the host's memory before it
    leaving: Sequence[Leaving]  # by place


@dataclass(frozen=True)
class Host:
    """The host's memory for a batch: what it is told, and what it leaves."""

    told: Told
    bad: Tensor
    ring: Tensor  # (R, PICTURES, D)


@dataclass(frozen=True)
class Recorded:
    """A step of one batch size: what it reads and writes, what puts it into the queue, and the
    host's memory for as many batches as are under way at once."""

    buffers: StepBuffers
    start: Callable[[], None]
    hosts: Sequence[Host]


class SlotBoard:
    """A board whose chains have slots on a device.

    Batches are begun `depth` ahead, each of up to `max_steps` steps. What a chain's state is lies
    on the device alone; which step it is at, the host knows.
    """

    num_lanes = 1

    def __init__(
        self,
        model: Model,
        form: Form,
        batch_sizes: tuple[int, ...],
        kernels: Kernels,
        queue: Queue,
        *,
        num_slots: int,
        depth: int = 1,
        max_steps: int = 1,
    ) -> None:
        """Take all memory that is ever needed, and record a step of every size. Raises
        torch.OutOfMemoryError where there is too little."""
        self.model, self.form, self.kernels, self.queue = model, form, kernels, queue
        self.batch_sizes = batch_sizes
        self.depth, self.max_steps = depth, min(max_steps, MAX_STEPS)
        self._plans = Plans(num_slots, 2 * self.max_rows, kernels.clip)
        self._begun = 0  # batches
        # Of one step no more than one state a row leaves
        D, places = math.prod(form.shape), min(LEAVING, self.max_steps) * self.max_rows
        self._states = States.zeros(num_slots, self.max_rows, places, D, queue.device)
        ring = self._states.ring[:places]
        self._rings = [queue.on_host(ring) for _ in range(depth)]
        self._recorded = {size: self._record(size) for size in reversed(batch_sizes)}

    def __len__(self) -> int:
        """The number of chains that have a slot."""
        return len(self._plans)

    @property
    def max_rows(self) -> int:
        """Network rows in one call, at most."""
        return self.batch_sizes[-1]

    @property
    def can_repeat(self) -> bool:
        """Are the states as before after a step that failed? Where the device runs ahead, or takes
        several steps, some are not."""
        return not self.queue.runs_ahead and self.depth == self.max_steps == 1

    def halve(self) -> bool:
        """Leave out the sizes above half of the largest, if steps can be repeated. Returns False
        where there is no smaller one."""
        smaller = tuple(size for size in self.batch_sizes if size <= self.max_rows // 2)
        if not (smaller and self.can_repeat):
            return False
        self.batch_sizes = smaller
        return True

    def seat(self, chain: Chain) -> bool:
        """Give a chain a slot. False: there is none."""
        return self._plans.seat(chain)

    def forget(self, chains: Sequence[Chain]) -> None:
        """Free the slots of finished or cancelled chains."""
        for chain in chains:
            self._plans.leave(chain)

    def prepare(self, batch: Batch, lane: int | None) -> SlotCall:
        """Put all steps of a batch into the device's queue, and a copy of what leaves."""
        size = next(n for n in self.batch_sizes if n >= batch.rows)
        recorded = self._recorded[size]
        host = recorded.hosts[self._begun % self.depth]
        slots = self._plans.slots(batch.chains)
        starts = self._plans.known[slots, Known.POSITION].tolist()
        self._tell(batch, slots, starts, host.told)
        sent = self._send_beginnings(batch, slots, starts)
        leaving = self._give_places(batch, starts, host.told)
        self._start(recorded, host, batch.steps, len(leaving))
        self._begun += 1
        taken = np.minimum(batch.steps, self._plans.known[slots, Known.STEPS] - starts)
        self._plans.known[slots, Known.POSITION] += taken
        return SlotCall(
            batch,
            lane,
            size,
            batch.rows,
            mark=self.queue.mark(),
            host=host,
            starts=starts,
            sent=sent,
            leaving=leaving,
        )

    def run(self, call: SlotCall) -> None:
        """Wait until the batch is done, and those before it."""
        call.mark.wait()

    def finish(self, call: SlotCall) -> Made:
        """Read what the batch left."""
        frames, results = [], {}
        pictures = call.host.ring[: len(call.leaving)].numpy()
        for (chain, position), (x_t, x_0_hat, x_prev) in zip(call.leaving, pictures, strict=True):
            if position in chain.job.shown:
                frames.append(Shown(chain, position, x_t.tobytes(), x_0_hat.tobytes()))
            if position + 1 == chain.job.num_steps:
                results[chain] = x_prev.tobytes()
        return Made(frames, results, self._bad(call))

    def _bad(self, call: SlotCall) -> dict[Chain, int]:
        bad = call.host.bad[: call.batch.steps, : len(call.batch)].numpy()
        if not bad.any():
            return {}
        first = bad.argmax(axis=0).tolist()  # step of each chain, if any
        of_chains = enumerate(zip(call.batch, call.starts, first, strict=True))
        return {chain: start + k + 1 for i, (chain, start, k) in of_chains if bad[k, i]}

    def _tell(self, batch: Batch, slots: Ints, starts: Sequence[int], told: Told) -> None:
        """Write down what each row of the batch is: chains, then the null rows of the guided ones,
        then padding, which repeats the last row."""
        known, B = self._plans.known[slots], len(slots)
        rows, size = told.rows.numpy(), told.rows.shape[1]
        at = enumerate(zip(batch, starts, strict=True))
        guided = [i for i, (chain, start) in at if start in chain.job.guided]
        of_chain = np.array([*range(B), *guided])
        of_chain = np.pad(of_chain, (0, size - len(of_chain)), mode="edge")  # each row's
        rows[Row.SEED] = known[of_chain, Known.SEED]
        rows[Row.INDEX] = known[of_chain, Known.INDEX]
        rows[Row.LABEL] = known[of_chain, Known.LABEL]
        rows[Row.LABEL, B : B + len(guided)] = self.form.null_label or 0
        rows[Row.READ] = slots[of_chain]
        rows[Row.WRITE, :B] = slots
        rows[Row.NULL] = -1
        rows[Row.NULL, guided] = np.arange(B, B + len(guided))
        rows[Row.DRAW] = known[of_chain, Known.POSITION]
        rows[Row.LEFT] = 0
        rows[Row.LEFT, :B] = known[:, Known.STEPS] - known[:, Known.POSITION]
        rows[Row.FRESH] = known[of_chain, Known.FRESH]
        rows[Row.KNOWN] = known[of_chain, Known.PICTURE]
        k = batch.steps
        steps = self._plans.steps(slots, k)[:, of_chain]
        told.t.numpy()[:k] = self._plans.t[steps]
        told.plan.numpy()[:k] = self._plans.coefficients[steps]

    def _send_beginnings(
        self, batch: Batch, slots: Ints, starts: Sequence[int]
    ) -> Sequence[Tensor]:
        """Put copies into the queue of the first states of chains that do not begin at noise, and
        of what is known of their images. Returns the host's memory of these."""
        sent: list[Tensor] = []

        def send(target: Tensor, source: Tensor) -> None:
            sent.append(self.queue.on_host(target))
            sent[-1].copy_(source.flatten())
            self.queue.copy(target, sent[-1])

        for chain, slot, start in zip(batch, slots.tolist(), starts, strict=True):
            begins = chain.job.begins
            if start or begins is None:
                continue
            send(self._states.x[slot], begins.state(chain.place, chain.noise_index))
            known = begins.known(chain.place)
            if known is not None:
                x_0, mask = self._states.known[self._plans.known[slot, Known.PICTURE]]
                send(x_0, known.x_0)
                send(mask, known.mask.expand(self.form.shape))
        return sent

    def _give_places(self, batch: Batch, starts: Sequence[int], told: Told) -> list[Leaving]:
        """Give a place of the ring to every state that is shown, and to the last ones."""
        places, k = told.places.numpy(), batch.steps
        places[:k] = -1
        leaving: list[Leaving] = []
        for row, (chain, start) in enumerate(zip(batch, starts, strict=True)):
            job = chain.job
            end = min(start + k, job.num_steps)
            if not job.shown and end < job.num_steps:
                continue
            for position in range(start, end):
                if position in job.shown or position + 1 == job.num_steps:
                    places[position - start, row] = len(leaving)
                    leaving.append(Leaving(chain, position))
        return leaving

    def _start(self, recorded: Recorded, host: Host, steps: int, num_leaving: int) -> None:
        told, copy = recorded.buffers.told, self.queue.copy
        copy(told.rows, host.told.rows)
        copy(told.clock, host.told.clock)
        for name in ("t", "plan", "places"):
            copy(getattr(told, name)[:steps], getattr(host.told, name)[:steps])
        for _ in range(steps):
            recorded.start()
        copy(host.bad[:steps], recorded.buffers.bad[:steps])
        if num_leaving:
            copy(host.ring[:num_leaving], self._states.ring[:num_leaving])

    def _record(self, size: int) -> Recorded:
        """Record a step of so many rows."""
        buffers = StepBuffers.zeros(size, self.form, self.queue.device)
        states, network = self._states, buffers.network

        @torch.inference_mode()
        def step() -> None:
            self.kernels.enter(states, buffers)
            network.out.copy_(self.model(network.x_t, network.t, network.label))
            self.kernels.leave(states, buffers)

        on_host = self.queue.on_host
        hosts = [
            Host(buffers.told.map(on_host), on_host(buffers.bad), ring) for ring in self._rings
        ]
        return Recorded(buffers, self.queue.record(step), hosts)
