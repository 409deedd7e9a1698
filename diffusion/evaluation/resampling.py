"""What a distance between sets says beyond one number: how sure it is, and what is left of it for
endlessly many samples. Every set drawn has the labels of the whole."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Distance = Callable[[Tensor], float]
"""How far features (N,D) are from a reference."""

PARTS = 5
"""Into how many parts samples are divided, at most, to see how the distance grows for fewer."""
RESAMPLES = 100
LEAST_OF_A_LABEL = 5
"""Samples of a label from which its own are resampled; fewer vary too little among themselves."""


def infinite(distance: Distance, features: Tensor, labels: Tensor | None = None) -> float | None:
    """Estimate the distance of endlessly many samples from features (N,D) of N (Chong & Forsyth
    2020, FID_infinity); None where N < D, too few to tell.

    The distance of n samples is too large by a share of 1/n. It is measured for 1, 2, … PARTS parts
    of the samples, of N/1, N/2, … each, and the line through it is followed to 1/n = 0.
    """
    if len(features) < features.shape[1]:
        return None
    inverse_sizes, means = [], []
    for count in range(1, PARTS + 1):
        parts = divide(len(features), count, labels)
        inverse_sizes.append(float(np.mean([1 / len(part) for part in parts])))
        means.append(float(np.mean([distance(features[part]) for part in parts])))
    _, intercept = np.polyfit(inverse_sizes, means, 1)
    return float(intercept)


def divide(size: int, count: int, labels: Tensor | None = None) -> list[Tensor]:
    """Divide the indices 0..size-1 into `count` parts, equal but for one index, each with the same
    share of every label (size,)."""
    order = torch.arange(size) if labels is None else labels.argsort(stable=True)
    return [order[first::count] for first in range(count)]


def interval(
    distance: Distance,
    features: Tensor,
    labels: Tensor | None,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Estimate a 95% interval of the distance of so many samples, from features (N,D), by bootstrap
    (Efron 1979).

    A resample repeats some samples, which makes its distance larger, as fewer samples would. So the
    resamples tell the spread alone: they are centred on the distance itself.
    """
    found = distance(features)
    made = [
        distance(features[_resample(len(features), labels, generator)]) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(made, (0.025, 0.975)) - np.mean(made) + found
    return max(float(low), 0.0), float(high)


class PairSpread(NamedTuple):
    """How sure a difference of two distances is, and how large one comes about by chance."""

    error: float  # the standard error of the difference, of samples that belong together
    by_chance: float  # the deviation of the difference of two sets that are drawn anew


def pair_spread(
    distance: Distance,
    one: Tensor,
    other: Tensor,
    labels: Tensor | None,
    generator: torch.Generator,
) -> PairSpread:
    """Estimate both by bootstrap, from features (N,D) of two sets of samples, of which the i-th of
    one was made as the i-th of the other: each resample takes the same of both."""
    ones, others = [], []
    for _ in range(RESAMPLES):
        chosen = _resample(len(one), labels, generator)
        ones.append(distance(one[chosen]))
        others.append(distance(other[chosen]))
    error = np.std(np.subtract(others, ones), ddof=1)
    return PairSpread(float(error), float(2**0.5 * np.std(ones, ddof=1)))


def _resample(size: int, labels: Tensor | None, generator: torch.Generator) -> Tensor:
    """Draw `size` of the indices with repetition, as many of each label as there are."""
    if labels is None or int(labels.unique(return_counts=True)[1].min()) < LEAST_OF_A_LABEL:
        return torch.randint(size, (size,), generator=generator)
    groups = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    chosen = [g[torch.randint(len(g), (len(g),), generator=generator)] for g in groups]
    return torch.cat(chosen)


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Compute a 95% interval of a share, `successes` of `total` (Wilson 1927)."""
    z = 1.96
    share = successes / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)
