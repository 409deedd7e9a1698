"""How many bits a model needs for a given picture, term by term (eq. 5), as `ddpm bound` tells."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.bound import Draw, Reverse, draws, prior, spread_over_chain


@dataclass(frozen=True)
class Terms:
    """Which terms of the bound are computed: `count` that are spread over the chain, or those at
    the paper's `timesteps`."""

    count: int
    timesteps: tuple[int, ...] = ()  # rising; instead of `count`

    @classmethod
    def of(cls, count: int | None, timesteps: Sequence[int] | None, num_timesteps: int) -> "Terms":
        """Check what was asked for. Raises ValueError, which names the field."""
        T = num_timesteps
        if timesteps is not None:
            if count is not None:
                raise ValueError(f"terms: {count} is not allowed: timesteps says which they are")
            for t in timesteps:
                if not 1 <= t <= T:
                    raise ValueError(f"timesteps: {t} is not allowed: it must be 1..{T}")
            rising = tuple(sorted(set(timesteps)))
            return cls(len(rising), rising)
        if count is not None and not 2 <= count <= T:
            raise ValueError(f"terms: {count} is not allowed: it must be 2..{T}, all of the terms")
        return cls(min(count or DEFAULT_TERMS, T))

    def chosen(
        self, indices: Tensor, num_timesteps: int, seed: int
    ) -> Iterator[tuple[Tensor, int | float]]:
        """Yield the t (B,) of each term of the pictures, and how many terms it stands for."""
        if not self.timesteps:
            yield from spread_over_chain(indices, num_timesteps, self.count, seed)
        for t in self.timesteps:
            yield torch.full_like(indices, t - 1), 1

    def is_whole(self, num_timesteps: int) -> bool:
        """Do they stand for the whole chain?"""
        return not self.timesteps or len(self.timesteps) == num_timesteps


DEFAULT_TERMS = 40


@dataclass(frozen=True)
class PictureTerm:
    """One term of one picture."""

    t: int  # the paper's
    bits_per_dim: float
    weight: float  # how many terms of the chain it stands for


@dataclass(frozen=True)
class PictureBound:
    """The bound of one picture, in bits/dim. The total and its error are None where the terms do
    not stand for the whole chain."""

    bits_per_dim: float | None
    standard_error: float | None
    L_T: float
    L_0: float | None
    terms: tuple[PictureTerm, ...]


def measure(
    reverse: Reverse, x_0: Tensor, label: Tensor | None, terms: Terms, *, seed: int
) -> Iterator[Draw]:
    """Compute the terms of pictures x_0 (B,C,H,W), the k-th with index k of the seed."""
    indices = torch.arange(len(x_0), device=x_0.device)
    chosen = terms.chosen(indices, reverse.process.num_timesteps, seed)
    yield from draws(reverse, x_0, label, chosen, seed=seed)


def summed(reverse: Reverse, x_0: Tensor, terms: Terms, made: Sequence[Draw]) -> list[PictureBound]:
    """Sum up the terms of each picture."""
    to_bits = 1 / (math.log(2) * x_0[0].numel())
    L_T = (prior(reverse.process, x_0) * to_bits).tolist()
    is_whole = terms.is_whole(reverse.process.num_timesteps)
    nats = [draw.term.nats.tolist() for draw in made]
    times = [draw.t.tolist() for draw in made]
    found = []
    for b in range(len(x_0)):
        each = tuple(
            PictureTerm(times[k][b] + 1, nats[k][b] * to_bits, float(draw.weight))
            for k, draw in enumerate(made)
        )
        L_0 = next((term.bits_per_dim for term in each if term.t == 1), None)
        total = L_T[b] + sum(term.weight * term.bits_per_dim for term in each)
        error = standard_error([term.weight * term.bits_per_dim for term in each if term.t > 1])
        found.append(
            PictureBound(
                total if is_whole else None, error if is_whole else None, L_T[b], L_0, each
            )
        )
    return found


def standard_error(parts: Sequence[float]) -> float | None:
    """Estimate the standard error of the sum of terms from one draw in each part of the chain, by
    the differences of neighbours (Cochran 1977, section 5A.12: collapsed strata). None below two.

    It is rather too large than too small, as neighbours differ in their means too. The decoder's
    noise is not in it.
    """
    n = len(parts)
    if n < 2:
        return None
    squares = math.fsum((a - b) ** 2 for a, b in zip(parts, parts[1:], strict=False))
    return math.sqrt(n / (2 * (n - 1)) * squares)
