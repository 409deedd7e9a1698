"""The terms of the bound, each a chain of one step: where they begin, and what follows."""

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
from torch import Tensor

from app.engine.board import Made
from app.engine.job import Chain
from app.wire.bound import Bound
from app.wire.messages import Event, Finished, Measured, Submit
from diffusion import bound_sum, noise
from diffusion.bound import prior
from diffusion.bound_steps import nats_of_steps
from diffusion.picture_bound import chosen
from diffusion.process import Process

AHEAD = 16
"""First states that are made at once, at most: many rows of noise take hardly longer than few."""
MAX_NUMBERS = 1 << 16
"""Numbers of these."""


class Terms:
    """The terms that a job computes of pictures x_0 (n,C,H,W), by the samples' indices."""

    is_masked = False
    shares_noise = False

    def __init__(self, submit: Submit, bound: Bound, process: Process, x_0: Tensor) -> None:
        self.x_0 = x_0
        self._process = process
        self._seed = submit.seed
        self._variance = submit.variance
        self._count = bound.count
        terms = bound_sum.Terms(bound.count, bound.timesteps)
        each = chosen(terms, torch.arange(len(x_0)), process.num_timesteps, submit.seed)
        t, self._weights = zip(*each, strict=True)
        self._t = torch.stack(t)  # (count, n), the code's
        self._prior = prior(process, x_0)
        self._next = dict(pairwise(submit.indices))
        self._made: dict[int, Tensor] = {}  # first states of the chains that begin next

    def row(self, index: int) -> int:
        """The row of the table that a term's only step takes: its t."""
        return int(self._t[index % self._count, index // self._count])

    def state(self, _place: int, index: int) -> Tensor:
        """x_t (C,H,W) of the term with this index: a draw of q(x_t | x_0)."""
        if index not in self._made:
            self._make(index)
        return self._made.pop(index)

    def known(self, _place: int) -> None:
        """Nothing: no part of an image is kept."""

    def measured(self, chains: Sequence[Chain], made: Made) -> list[Measured]:
        """The terms of chains of this job that have taken their step."""
        frames = {frame.chain: frame for frame in made.frames}
        shown = [frames[chain] for chain in chains]
        picture, t = self._places([chain.index for chain in chains])
        x_0_hat = self._tensor([frame.x_0_hat for frame in shown])
        x_next = self._tensor([made.results[chain] for chain in chains])
        nats = nats_of_steps(
            self._process, self._variance, self.x_0[picture], t, x_0_hat, x_next, self._z(chains)
        )
        priors = self._prior[picture]
        return [
            Measured(
                chain.job.id,
                chain.index,
                int(t[i]) + 1,
                float(nats[i]),
                float(self._weights[chain.index % self._count]),
                float(priors[i]),
                shown[i].x_t,
                shown[i].x_0_hat,
            )
            for i, chain in enumerate(chains)
        ]

    def _make(self, index: int) -> None:
        """Make the first states of this term and of those that come next."""
        most = max(1, min(AHEAD, MAX_NUMBERS // self.x_0[0].numel()))
        indices = [index]
        while len(indices) < most and indices[-1] in self._next:
            indices.append(self._next[indices[-1]])
        picture, t = self._places(indices)
        # As `bound.draws`: picture k has index k, and draw 0 would be a sample's x_T
        seeds = torch.full_like(picture, self._seed)
        eps = noise.normal(seeds, picture, t + 1, tuple(self.x_0.shape[1:]))
        x_t = self._process.q_sample(self.x_0[picture].double(), t, eps.double()).float()
        self._made = dict(zip(indices, x_t, strict=True))

    def _places(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The pictures and the code's t of terms, each (B,)."""
        at = torch.tensor(indices)
        picture = at // self._count
        return picture, self._t[at % self._count, picture]

    def _z(self, chains: Sequence[Chain]) -> Tensor | None:
        """The noise of the chains' steps, where that tells the learned variance."""
        if self._variance != "learned_range":
            return None
        indices = torch.tensor([chain.index for chain in chains])
        seeds = torch.full_like(indices, self._seed)
        return noise.normal(seeds, indices, torch.ones_like(indices), tuple(self.x_0.shape[1:]))

    def _tensor(self, raw: Sequence[bytes]) -> Tensor:
        whole = torch.frombuffer(bytearray(b"".join(raw)), dtype=torch.float32)
        return whole.reshape(len(raw), *self.x_0.shape[1:])


def results(finished: Sequence[Chain], made: Made) -> list[Event]:
    """What is told of chains that are done: their images, or the terms that they computed."""
    events: list[Event] = []
    for job, of_job in groupby(finished, key=lambda chain: chain.job):
        chains = list(of_job)
        if isinstance(job.begins, Terms):
            events += job.begins.measured(chains, made)
        else:
            events += [Finished(job.id, chain.index, made.results[chain]) for chain in chains]
    return events
