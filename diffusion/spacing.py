"""Which timesteps a reverse chain visits, and the defaults of each sampler.

Index rule, for the whole package: the t of the code is zero-based, t = t_paper - 1, so that
0 <= t < T, and tables over t are read as in the paper: `alpha_bar[t]`. The network receives this t.

Integers only; torch is not imported, so that a server process can plan a chain without it.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from diffusion.config import Variance
from diffusion.tuned import Tuned, tuned_list

SamplerName = Literal["ddpm", "ddim", "dpmpp", "unipc", "ipndm"]
"""Algorithm 2; DDIM; DPM-Solver++(2M); UniPC of order 3; iPNDM of order 4."""
FROM_ZERO_SNR: tuple[SamplerName, ...] = ("ddpm", "ddim", "dpmpp")
"""Samplers that can begin at alpha_bar_T = 0. UniPC and iPNDM measure the first step in log SNR and
sigma / alpha, where it is infinite; that of DPM-Solver++ is of first order, and has a limit."""
FormulaName = Literal["even", "quadratic", "log_snr", "karras"]
"""Where the kept timesteps are dense: nowhere; near the image, by the square; where the log SNR
changes fast; by Karras et al. 2022, eq. 5."""
SpacingName = Literal[FormulaName, "tuned"]
"""A formula, or the list that `ddpm tune` found for the checkpoint, sampler and number of steps."""
KARRAS_RHO = 7
"""How much denser the steps are near the image than near the noise; 1: even in sigma."""
LARGEST_SIGMA = 80.0
"""sigma / alpha above which `log_snr` and `karras` put only the first step: where there is only
noise, the network has nothing to say (Karras et al. 2022). The cosine schedule goes to 20,000."""


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

    @classmethod
    def by_name(cls, name: FormulaName, num_steps: int, alpha_bar: Sequence[float]) -> Self:
        """Keep `num_steps` of 0..T-1, T-1 among them, as the name says.

        `alpha_bar` (T,) is that of eq. 4 by the code's t. Where fewer timesteps than steps lie in a
        place, their neighbours are taken too. Raises ValueError unless 1 <= num_steps <= T.
        """
        T, S = len(alpha_bar), num_steps
        even = cls.even(T, S)
        if name == "even" or S in (1, T):
            return even
        match name:
            case "quadratic":
                wanted = [round(T * (i / S) ** 2) - 1 for i in range(1, S + 1)]
            case "log_snr":
                wanted = _even_in(alpha_bar, math.log, S)
            case "karras":
                wanted = _even_in(alpha_bar, lambda sigma: sigma ** (1 / KARRAS_RHO), S)
        return cls(_distinct(wanted, T))

    @classmethod
    def of_paper_t(cls, paper_t: Sequence[int], num_timesteps: int) -> Self:
        """Keep the timesteps of a list: the paper's t, falling from T.

        Raises ValueError for any other list.
        """
        T = num_timesteps
        if not paper_t or paper_t[0] != T:
            first = f"begins with {paper_t[0]}" if paper_t else "is empty"
            raise ValueError(f"the list {first}; it must begin with T = {T}, where x_T is noise")
        for before, after in zip(paper_t, paper_t[1:], strict=False):
            if not 1 <= after < before:
                raise ValueError(f"{after} comes after {before}; t must fall, and be 1..{T}")
        return cls(tuple(t - 1 for t in reversed(paper_t)))

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

    def up_to(self, paper_t: int) -> Self:
        """Keep of these timesteps the ones up to t: those of a chain that does not begin at T.

        Raises ValueError where all are above t.
        """
        kept = tuple(t for t in self.kept if t < paper_t)
        if not kept:
            raise ValueError(
                f"the chain's lowest kept timestep is {self.kept[0] + 1}; give a higher t, or keep "
                "more"
            )
        return type(self)(kept)

    def beginning_at(self, paper_t: int) -> Self:
        """Keep of these timesteps the ones from t on, which is one of them: a state is given that
        has the noise of that t. Raises ValueError for another t."""
        if paper_t not in self.paper_t[:-1]:
            nearest = self.paper_t[min(self.position_of(paper_t), len(self) - 1)]
            raise ValueError(
                f"the chain does not keep it; the nearest t that it keeps is {nearest}"
            )
        return self.up_to(paper_t)

    def position_of(self, paper_t: int) -> int:
        """Return the position of the state whose t is nearest; of two equally near, the noisier."""
        return min(range(len(self.paper_t)), key=lambda k: abs(self.paper_t[k] - paper_t))


def _even_in(
    alpha_bar: Sequence[float], scale: Callable[[float], float], num_steps: int
) -> list[int]:
    """The timesteps at even distances in `scale` of sigma / alpha, which rises, from the image to
    LARGEST_SIGMA; two or more."""
    at = [scale(math.sqrt((1 - a) / a) if a else math.inf) for a in alpha_bar]
    low, high = at[0], min(at[-1], scale(LARGEST_SIGMA))
    values = [low + i / (num_steps - 1) * (high - low) for i in range(num_steps)]
    return [_nearest(at, value) for value in values]


def _nearest(rising: Sequence[float], value: float) -> int:
    """The place of the number that is nearest to `value`."""
    above = bisect_left(rising, value)
    around = [place for place in (above - 1, above) if 0 <= place < len(rising)]
    return min(around, key=lambda place: abs(rising[place] - value))


def _distinct(wanted: Sequence[int], num_timesteps: int) -> tuple[int, ...]:
    """Timesteps near those wanted, which do not fall: each once, T - 1 the last."""
    kept: list[int] = []
    for t in wanted:
        kept.append(max(t, kept[-1] + 1 if kept else 0))
    kept[-1] = num_timesteps - 1
    for i in reversed(range(len(kept) - 1)):
        kept[i] = min(kept[i], kept[i + 1] - 1)
    return tuple(kept)


def kept_timesteps(
    which: SpacingName | Sequence[int],
    num_steps: int | None,
    sampler: SamplerName,
    alpha_bar: Sequence[float],
    tuned: Tuned,
) -> Spacing:
    """Return the timesteps that a request keeps: by the name of a spacing, or a list of the paper's
    t, which says the number of steps too. None steps: the sampler's default.

    `alpha_bar` (T,) is that of eq. 4 by the code's t; `tuned` is the card's. Raises ValueError for
    a list that is wrong, or not on the card, and unless 1 <= num_steps <= T.
    """
    T = len(alpha_bar)
    if not isinstance(which, str):
        return Spacing.of_paper_t(which, T)
    steps = default_steps(sampler, T) if num_steps is None else num_steps
    if which == "tuned":
        return Spacing.of_paper_t(tuned_list(tuned, sampler, steps), T)
    return Spacing.by_name(which, steps, alpha_bar)


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


def check_sampler(sampler: SamplerName, *, zero_snr: bool) -> None:
    """Raise ValueError for a sampler that cannot begin where nothing is left of the image:
    alpha_bar_T = 0 (`zero_snr`), a log SNR of minus infinity."""
    if zero_snr and sampler not in FROM_ZERO_SNR:
        raise ValueError(
            f"this model's chain begins at alpha_bar = 0 (zero terminal SNR), where {sampler} has "
            f"no first step; use one of {', '.join(FROM_ZERO_SNR)}"
        )


def check_chain(spacing: Spacing, min_timestep: int) -> None:
    """Raise ValueError for a chain that would tell a network less than the t that it can be told,
    counted as in the code."""
    if spacing.kept[0] < min_timestep:
        raise ValueError(
            f"this model's network cannot be told t = {spacing.kept[0] + 1}, where the chain ends "
            f"({len(spacing)} steps); take at most half of T steps, at even distances, or a list "
            f"that ends at {min_timestep + 1} or above"
        )


def default_variance(trained: Variance, num_steps: int, num_timesteps: int) -> Variance:
    """Return the variance of Algorithm 2 where a request names none: the checkpoint's for the full
    chain, `fixed_small` for a shorter one.

    `fixed_large` ruins the images of short chains: FID 133 instead of 18 with 20 steps on CIFAR-10
    (DDIM paper, Table 1).
    """
    return trained if num_steps == num_timesteps else "fixed_small"
