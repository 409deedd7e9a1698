"""Distances between sets, against closed forms, scipy and sets whose answer is plain."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from diffusion.evaluation.frechet import DistanceTo, Moments, moments


def features(count: int, size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mix + mix[0]


def frechet_distance(a: Moments, b: Moments) -> float:
    return DistanceTo(a).of(b)


def test_moments_are_those_of_numpy() -> None:
    made = features(50)
    found = moments(made)
    np.testing.assert_allclose(found.mean, made.double().numpy().mean(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(made.double().numpy(), rowvar=False))


def test_moments_of_parts_are_those_of_the_whole() -> None:
    made = features(50) + 1e6  # a sum of squares would lose the spread
    whole, parts = moments(made), moments(iter([made[:1], made[1:20], made[20:]]))
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(moments(made[:, :1]).covariance, whole.covariance[:1, :1])


def test_fewer_samples_than_dimensions_have_the_distance_of_their_moments() -> None:
    distance = DistanceTo(moments(features(80, size=30)))
    for count in (2, 12, 29, 31):
        few = features(count, size=30, seed=1)
        assert distance(few) == pytest.approx(distance.of(moments(few)), rel=1e-6)


def test_the_distance_of_two_gaussians_on_the_axes_is_that_of_means_and_deviations() -> None:
    deviations = torch.tensor([1.0, 2.0]).double(), torch.tensor([3.0, 0.5]).double()
    a = Moments(torch.zeros(2).double(), deviations[0].square().diag())
    b = Moments(torch.tensor([3.0, 4.0]).double(), deviations[1].square().diag())
    expected = 25 + (1 - 3) ** 2 + (2 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_the_distance_equals_the_published_formula_with_a_matrix_root() -> None:
    a, b = moments(features(80)), moments(features(90, seed=1))
    root = sqrtm((a.covariance @ b.covariance).numpy()).real
    expected = (a.mean - b.mean).square().sum() + (
        a.covariance.trace() + b.covariance.trace() - 2 * np.trace(root)
    )
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
    assert DistanceTo(a)(features(90, seed=1)) == pytest.approx(expected.item(), rel=1e-6)


def test_a_set_is_at_no_distance_from_itself_even_when_features_are_constant() -> None:
    made = torch.cat([features(40), torch.zeros(40, 3)], dim=1)
    assert frechet_distance(moments(made), moments(made)) == pytest.approx(0, abs=1e-8)


def test_the_distance_of_two_halves_falls_with_their_size() -> None:
    def floor(count: int) -> float:
        made = features(2 * count)
        return frechet_distance(moments(made[:count]), moments(made[count:]))

    assert floor(100) > 3 * floor(2000)
