"""Intervals and extrapolations, on Gaussians whose distance is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.evaluation.frechet import DistanceTo, Moments
from diffusion.evaluation.resampling import divide, infinite, interval, pair_spread, wilson

D = 8
MEANS = torch.tensor([[2.0] + [0.0] * (D - 1), [-2.0] + [0.0] * (D - 1)]).double()
"""Of two labels: equal numbers of both have mean 0."""


def reference(shift: float = 0.0, scale: float = 1.0) -> DistanceTo:
    """The distance to N(shift, scale^2), so that N(0, 1) is at D (shift^2 + (scale - 1)^2)."""
    return DistanceTo(Moments(torch.full((D,), shift).double(), torch.eye(D).double() * scale**2))


def normal(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, D, generator=generator).double()


def extrapolated(distance: DistanceTo, sets: list[Tensor], labels: Tensor | None = None) -> Any:
    """The estimate of each set, as an array."""
    return np.array([infinite(distance, made, labels) for made in sets], dtype=float)


def test_the_extrapolation_is_near_the_truth_and_the_distance_of_n_samples_above_it() -> None:
    distance, truth = reference(0.1, 1.2), D * (0.1**2 + 0.2**2)
    sets = [normal(200, seed) for seed in range(200)]
    found = np.array([distance(made) for made in sets])
    limits = extrapolated(distance, sets)
    error = limits.std() / len(sets) ** 0.5
    assert abs(limits.mean() - truth) < 3 * error
    assert found.mean() - truth > 10 * error
    assert limits.std() < 2 * found.std(), "extrapolating does not cost much certainty"


def test_samples_from_the_reference_itself_are_extrapolated_to_0() -> None:
    found = extrapolated(reference(), [normal(200, seed) for seed in range(40)])
    assert found.mean() == pytest.approx(0, abs=3 * found.std() / len(found) ** 0.5)
    assert reference()(normal(200, 0)) > 0.05


def test_equal_numbers_of_each_label_are_extrapolated_as_such() -> None:
    """Parts with chance numbers of labels would be farther apart, and the limit too low."""
    labels = torch.arange(200) % 2
    mixture = torch.eye(D).double()
    mixture[0, 0] += 4
    distance = DistanceTo(Moments(torch.zeros(D).double(), mixture))
    sets = [normal(200, seed) + MEANS[labels] for seed in range(40)]
    found = extrapolated(distance, sets, labels)
    assert found.mean() == pytest.approx(0, abs=3 * found.std() / len(found) ** 0.5)


def test_fewer_samples_than_dimensions_are_not_extrapolated() -> None:
    assert infinite(reference(), normal(D - 1, 0)) is None
    assert infinite(reference(), normal(10, 0)) is not None


def test_parts_are_equal_and_have_the_same_labels() -> None:
    labels = torch.tensor([0] * 10 + [1] * 7)
    parts = divide(17, 3, labels)
    assert sorted(torch.cat(parts).tolist()) == list(range(17))
    assert {len(part) for part in parts} == {5, 6}
    assert all(int((labels[part] == 0).sum()) in (3, 4) for part in parts)


def test_95_percent_intervals_hold_the_mean_distance_of_so_many_samples() -> None:
    """A plain bootstrap would be too high each time: a resample is farther away than its set."""
    distance = reference(0.3, 1.0)
    sets = [normal(100, seed) for seed in range(60)]
    mean = np.mean([distance(made) for made in sets])
    generator = torch.Generator().manual_seed(0)
    intervals = [interval(distance, made, None, generator) for made in sets]
    held = np.mean([low <= mean <= high for low, high in intervals])
    assert 0.85 <= held <= 1
    above = np.mean([low > mean for low, _ in intervals])
    assert above < 0.1
    widths = [high - low for low, high in intervals]
    spread = np.std([distance(made) for made in sets])
    assert np.mean(widths) == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_resamples_have_the_labels_of_the_samples() -> None:
    """Else the interval would hold what varies with chance numbers of labels alone."""
    labels = torch.arange(100) % 2
    made = normal(100, 0) + MEANS[labels] * 5
    distance = DistanceTo(Moments(torch.ones(D).double(), torch.eye(D).double()))

    def width(of: Tensor | None) -> float:
        low, high = interval(distance, made, of, torch.Generator().manual_seed(0))
        return high - low

    assert width(labels) < width(None) / 1.5


def test_the_difference_of_pairs_is_surer_than_that_of_sets_drawn_anew() -> None:
    """Pairs that are nearly the same differ by little, whichever of them are drawn."""
    distance, nudge = reference(0.3, 1.0), 0.01
    ones = [normal(100, seed) for seed in range(60)]
    differences = [distance(one + nudge) - distance(one) for one in ones]
    anew = [distance(a) - distance(b) for a, b in zip(ones[::2], ones[1::2], strict=True)]
    generator = torch.Generator().manual_seed(0)
    spreads = [pair_spread(distance, one, one + nudge, None, generator) for one in ones[:20]]
    errors, by_chance = (np.mean(each) for each in zip(*spreads, strict=True))
    assert errors == pytest.approx(np.std(differences), rel=0.3)
    assert by_chance == pytest.approx(np.std(anew), rel=0.3)
    assert errors < by_chance / 10


def test_the_interval_of_a_share_is_wilsons() -> None:
    # scipy.stats.binomtest(81, 263).proportion_ci(method="wilson"), to its rounding of 1.96
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    low, high = wilson(200, 200)
    assert 0.98 < low < high == 1
    assert wilson(0, 10)[0] == 0
