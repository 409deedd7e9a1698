"""Which timesteps a reverse chain visits, and the defaults of each sampler.

Index rule, for the whole package: the t of the code is zero-based, t = t_paper - 1, so that
0 <= t < T, and tables over t are read as in the paper: `alpha_bar[t]`. The network receives this t.

Integers only; torch is not imported, so that a server process can plan a chain without it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from diffusion.config import Variance

SamplerName = Literal["ddpm", "ddim", "dpmpp", "unipc", "ipndm"]
"""Algorithm 2; DDIM; DPM-Solver++(2M); UniPC of order 3; iPNDM of order 4."""


@dataclass(frozen=True)
class Spacing:
    """The timesteps that a chain of S steps keeps, and the three ways to count along the chain.

    The chain passes through S + 1 states, from pure noise to the image. A *position* k counts
    them in that order, 0 <= k <= S; step k leads from position k to k + 1. With T = 1000 and
    kept = (249, 499, 749, 999):

        position k     0     1     2     3     4
        network_t[k]   999   749   499   249   -     the t of the code: what the network is told
        paper_t[k]     1000  750   500   250   0     the t of x_t in the paper; 0 is the image
    """

    kept: tuple[int, ...]  # strictly increasing; the t of the code

    @classmethod
    def even(cls, num_timesteps: int, num_steps: int) -> Self:
        """Keep `num_steps` of 0..T-1 at even distances, T-1 among them, where x_T is pure noise.

        Raises ValueError unless 1 <= num_steps <= T.
        """
        T, S = num_timesteps, num_steps
        if not 1 <= S <= T:
            raise ValueError(f"steps: {S} is not allowed; it must be 1..{T}")
        return cls(tuple(round(i * T / S) - 1 for i in range(1, S + 1)))

    def __len__(self) -> int:
        """S, the number of steps."""
        return len(self.kept)

    @cached_property
    def network_t(self) -> tuple[int, ...]:
        """The t that the network is told in each of the S steps, decreasing."""
        return self.kept[::-1]

    @cached_property
    def paper_t(self) -> tuple[int, ...]:
        """The paper's t of each of the S + 1 states, decreasing to 0, the image."""
        return (*(t + 1 for t in self.network_t), 0)

    def position_of(self, paper_t: int) -> int:
        """Return the position of the state whose t is nearest; of two equally near, the noisier."""
        return min(range(len(self.paper_t)), key=lambda k: abs(self.paper_t[k] - paper_t))

    def positions_of(self, paper_ts: Iterable[int]) -> list[int]:
        """Return the nearest position of each t wanted: increasing, and each position once."""
        return sorted({self.position_of(t) for t in paper_ts})

    def even_positions(self, count: int) -> list[int]:
        """Return `count` positions at even distances, both ends among them (so count >= 2).

        Fewer where the chain has fewer states.
        """
        return sorted({round(i * len(self) / (count - 1)) for i in range(count)})


def default_steps(sampler: SamplerName, num_timesteps: int) -> int:
    """Return how many timesteps are kept unless a request says so: all T by Algorithm 2, 50 by DDIM
    and 20 by the others, or T where that is less."""
    match sampler:
        case "ddpm":
            return num_timesteps
        case "ddim":
            return min(50, num_timesteps)
        case "dpmpp" | "unipc" | "ipndm":
            return min(20, num_timesteps)


def default_variance(trained: Variance, num_steps: int, num_timesteps: int) -> Variance:
    """Return the variance of Algorithm 2 where a request names none: the checkpoint's for the full
    chain, `fixed_small` for a shorter one.

    `fixed_large` ruins the images of short chains: FID 133 instead of 18 with 20 steps on CIFAR-10
    (DDIM paper, Table 1).
    """
    return trained if num_steps == num_timesteps else "fixed_small"
