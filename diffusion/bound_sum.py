"""Which terms of the bound are computed for a picture, and what they sum up to; without PyTorch.

`diffusion.picture_bound` computes them here, an engine for a server.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_TERMS = 40


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

    def is_whole(self, num_timesteps: int) -> bool:
        """Do they stand for the whole chain?"""
        return not self.timesteps or len(self.timesteps) == num_timesteps


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

    @classmethod
    def of(cls, L_T: float, terms: Sequence[PictureTerm], *, is_whole: bool) -> "PictureBound":
        """Sum up the terms of a picture, which are in their order."""
        total = L_T + sum(term.weight * term.bits_per_dim for term in terms)
        error = standard_error([term.weight * term.bits_per_dim for term in terms if term.t > 1])
        L_0 = next((term.bits_per_dim for term in terms if term.t == 1), None)
        return cls(total if is_whole else None, error if is_whole else None, L_T, L_0, tuple(terms))


def bits_per_dim(nats: float, num_dims: int) -> float:
    """Convert nats of an image of so many numbers."""
    return nats / (math.log(2) * num_dims)


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
