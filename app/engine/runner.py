"""Advances a batch by one step: gather the chains' states, call the network, update, scatter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from app.engine.batch import Batch
from app.engine.board import Call, Made
from app.engine.chain_step import BatchStep, ChainStep, what_leaves
from app.engine.job import Chain
from app.engine.noise_ahead import Draw, NoiseAhead
from app.engine.roster import Guided, Roster
from app.engine.runtime import Runtime
from app.engine.steps_ahead import StepsAhead
from diffusion import noise
from diffusion.guidance import combine_guided
from diffusion.reverse import Known, remember, step, with_known

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""x_t, t and label, a network row each."""


@dataclass(eq=False, slots=True, kw_only=True)
class NetworkCall(Call):
    """A network call for one step of a batch, and what the step needs besides. `run` fills in
    `out`."""

    inputs: Inputs
    x_t: Tensor
    history: Sequence[Tensor]  # what the last steps remember, as far back as any chain looks
    z: Tensor | None  # None where no chain needs it
    table_rows: Tensor  # of the samplers' tables
    depth: int  # how many steps back any chain looks
    remembers_mix: bool  # whether any chain remembers another thing than x_0_hat
    guided: Guided | None
    clip: float | Tensor | None
    known: Known | None  # None where nothing is known of any chain's image
    w: Tensor | None  # the noise of what is known
    out: Tensor | None = None


class Runner:
    """Owns the states of all chains that have begun, and advances them a step at a time."""

    depth = max_steps = 1

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
        self._states: dict[Chain, ChainStep] = {}
        self._rosters: dict[int | None, Roster] = {}  # of the last batch, by lane
        self._noise = NoiseAhead(shape, runtime.device)

    def __len__(self) -> int:
        """The number of chains whose states it holds."""
        return len(self._states)

    @property
    def max_rows(self) -> int:
        """Network rows in one call, at most."""
        return self.batch_sizes[-1]

    @property
    def num_lanes(self) -> int:
        """Batches at once, at most."""
        return self.runtime.lanes.num_lanes if self.runtime.lanes is not None else 1

    @property
    def can_repeat(self) -> bool:
        """Can a step that failed be taken again? After an error a GPU may be in any state."""
        return self.runtime.device.type == "cpu"

    def halve(self) -> bool:
        """Make batches at most half as large, after memory ran out. Returns False at one row."""
        half = self.max_rows // 2
        if not half:
            return False
        self.batch_sizes = tuple(size for size in self.batch_sizes if size <= half) or (half,)
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    def seat(self, _chain: Chain) -> bool:
        """There is always room for a state."""
        return True

    def prepare(self, batch: Batch, lane: int | None) -> NetworkCall:
        """Gather what a step of every chain of the batch needs, on a lane or, with None, on the
        whole machine. `run` and `finish` follow. Only `run` may be called while other batches are
        prepared, run and finished, each on a lane of its own."""
        roster, k = self._roster(batch, lane)
        ahead = roster.ahead
        begins = any(chain.position == 0 for chain in batch)
        x_T, z = self._draw(batch) if begins or ahead.is_noisy[k] else ({}, None)
        w = None if roster.known is None else self._draw_known(batch)
        x_t, history = self._gather(batch, x_T, ahead.depth)
        inputs = self._inputs(roster, x_t, ahead.t[k])
        rows = inputs[0].shape[0]  # len() of a tensor is Python's, and slow
        size = self._size(rows, lane)
        return NetworkCall(
            batch, lane, size, rows,
            inputs=_padded(inputs, size),
            x_t=x_t,
            history=history,
            z=z,
            table_rows=ahead.rows[k],
            depth=ahead.depth,
            remembers_mix=ahead.remembers_mix,
            guided=roster.guided,
            clip=roster.clip,
            known=roster.known,
            w=w,
        )  # fmt: skip

    def run(self, call: NetworkCall) -> None:
        """Call the network. Its output has a row for each input row; that of a lane is good until
        the lane's next call."""
        if call.lane is None or self.runtime.lanes is None:
            call.out = self.runtime(*call.inputs)
        else:
            call.out = self.runtime.lanes.run(call.lane, *call.inputs)

    def finish(self, call: NetworkCall) -> Made:
        """Advance the call's chains by what the network gave, and return what leaves the engine:
        frames of the states that they were in, and the results of chains that are done."""
        if call.out is None:
            raise RuntimeError("the call has not been run")
        x_prev, x_0_hat = step(
            call.x_t,
            self._guide(call, call.out),
            call.history,
            call.z,
            call.table_rows,
            call.clip,
        )
        if call.known is not None and call.w is not None:
            x_prev = with_known(x_prev, call.known, call.w, call.table_rows)
        is_finite = [True] * len(call.batch)
        if not isfinite(x_prev.sum().item()):
            low, high = (ends.tolist() for ends in x_prev.flatten(1).aminmax(dim=1))
            is_finite = [isfinite(a) and isfinite(b) for a, b in zip(low, high, strict=True)]
        history = self._remember(call, x_0_hat)
        steps = BatchStep(call.x_t, x_0_hat, x_prev, is_finite, history).of_each()
        of_chains = dict(zip(call.batch, steps, strict=True))
        self._states.update(of_chains)
        return what_leaves(of_chains)

    def forget(self, chains: Sequence[Chain]) -> None:
        """Drop the states of finished or cancelled chains."""
        for chain in chains:
            self._states.pop(chain, None)
            self._noise.forget(chain)

    def _roster(self, batch: Batch, lane: int | None) -> tuple[Roster, int]:
        """The batch's roster, and which of its steps ahead this is: the lane's last one, if the
        chains are the same."""
        chains = batch.chains
        rows = [chain.row for chain in chains]
        last = self._rosters.get(lane)
        if last is not None and last.chains == chains:
            k = last.ahead.find(rows)
            if k is not None:
                return last, k
        elif last is not None:
            self._part(set(last.chains).difference(chains))
        steps = min(chain.job.rows_alike(chain.position) for chain in chains)
        tables = [chain.job.table for chain in chains]
        ahead = StepsAhead.of(tables, rows, self.runtime.device, steps)
        roster = Roster.of(chains, ahead, self.shape, self.clip, self.null_label)
        self._rosters[lane] = roster
        return roster, 0

    def _part(self, chains: Iterable[Chain]) -> None:
        """Copy the states of chains that have left a batch: as rows of the batch's tensors they
        would keep the other chains' in memory."""
        for chain in chains:
            if chain in self._states:
                self._states[chain] = self._states[chain].copy()

    def _inputs(self, roster: Roster, x_t: Tensor, t: Tensor) -> Inputs:
        """A network row for each chain, and a second one, without the label, for guided ones."""
        if roster.guided is None:
            return x_t, t, roster.label
        extra = roster.guided.places
        return torch.cat([x_t, x_t[extra]]), torch.cat([t, t[extra]]), roster.label

    def _gather(
        self, batch: Batch, x_T: dict[int, Tensor], depth: int
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """x_t, and what the last `depth` steps remember, each (B,C,H,W). Where the chains' last
        step was one together, its tensors are taken as they are."""
        states = [self._states.get(chain) for chain in batch]
        first = states[0]
        if first is not None and states == first.batch.of_each():
            return first.batch.x_prev, first.batch.history[:depth]
        x_t = torch.stack([s.x_prev if s else x_T[i] for i, s in enumerate(states)])
        return x_t, [self._recall(states, j) for j in range(depth)]

    def _recall(self, states: Sequence[ChainStep | None], j: int) -> Tensor:
        """What each chain's j-th step before the last remembers, (B,C,H,W); 0 where it has none."""
        zero = torch.zeros(self.shape, device=self.runtime.device)
        rows = [state.remembered(j) if state else None for state in states]
        return torch.stack([zero if row is None else row for row in rows])

    def _remember(self, call: NetworkCall, x_0_hat: Tensor) -> Sequence[Tensor]:
        """The history for the next step of the call's chains."""
        if not call.depth:
            return ()
        m = remember(call.x_t, x_0_hat, call.table_rows) if call.remembers_mix else x_0_hat
        return (m, *call.history)[: call.depth]

    def _draw(self, batch: Batch) -> tuple[dict[int, Tensor], Tensor | None]:
        """The first state of the chains that begin, by place in the batch: x_T, unless they begin
        elsewhere; and z (B,C,H,W), 0 for chains whose step adds no noise, or None where no chain's
        does."""
        begin, noisy, elsewhere = {}, {}, {}
        for i, chain in enumerate(batch):
            if chain.position == 0 and chain.job.begins is None:
                begin[i] = Draw(chain, 0)
            elif chain.position == 0 and chain.job.begins is not None:
                state = chain.job.begins.state(chain.place, chain.noise_index)
                elsewhere[i] = state.to(self.runtime.device)
            if chain.job.table.is_noisy[chain.row]:
                noisy[i] = Draw(chain, chain.position + 1)
        x_T = dict(zip(begin, self._noise.take(list(begin.values())), strict=True)) | elsewhere
        if not noisy:
            return x_T, None
        z = dict(zip(noisy, self._noise.take(list(noisy.values())), strict=True))
        zero = torch.zeros(self.shape, device=self.runtime.device)
        return x_T, torch.stack([z.get(i, zero) for i in range(len(batch))])

    def _draw_known(self, batch: Batch) -> Tensor:
        """w (B,C,H,W), the noise of what is known of the chains' images; 0 where nothing is."""
        draws = {
            i: Draw(chain, noise.KNOWN + chain.position + 1)
            for i, chain in enumerate(batch)
            if chain.is_masked
        }
        w = dict(zip(draws, self._noise.take(list(draws.values())), strict=True))
        zero = torch.zeros(self.shape, device=self.runtime.device)
        return torch.stack([w.get(i, zero) for i in range(len(batch))])

    def _size(self, rows: int, lane: int | None) -> int:
        """The smallest batch size that holds so many rows; on a lane, its share of one."""
        share = 1 if lane is None else self.num_lanes
        return next(n // share for n in self.batch_sizes if n % share == 0 and n // share >= rows)

    def _guide(self, call: NetworkCall, out: Tensor) -> Tensor:
        """The network's output with a row for each chain, guided where its job asks for that."""
        B = len(call.batch)
        of_chains = out if out.shape[0] == B else out[:B]
        if call.guided is None:
            return of_chains
        places, w = call.guided
        out_null = out[B : B + len(places)]
        guided = combine_guided(of_chains[places], out_null, w, num_channels=self.shape[0])
        return of_chains.index_copy(0, places, guided)


def _padded(inputs: Inputs, size: int) -> Inputs:
    """The inputs with `size` rows: the last row is repeated."""
    x_t, t, label = inputs
    B = x_t.shape[0]
    if size == B:
        return inputs
    rows = torch.arange(size, device=x_t.device).clamp(max=B - 1)
    return x_t[rows], t[rows], None if label is None else label[rows]
