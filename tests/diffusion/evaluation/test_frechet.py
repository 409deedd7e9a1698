"""Distances between sets, against closed forms, scipy and sets whose answer is plain."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from diffusion.evaluation.frechet import (
    Moments,
    frechet_distance,
    moments,
    nearest,
    precision_recall,
)


def features(count: int, size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mix + mix[0]


def test_moments_are_those_of_numpy() -> None:
    made = features(50)
    found = moments(made)
    np.testing.assert_allclose(found.mean, made.double().numpy().mean(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(made.double().numpy(), rowvar=False))


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


def test_a_set_is_at_no_distance_from_itself_even_when_features_are_constant() -> None:
    made = torch.cat([features(40), torch.zeros(40, 3)], dim=1)
    assert frechet_distance(moments(made), moments(made)) == pytest.approx(0, abs=1e-8)


def test_the_distance_of_two_halves_falls_with_their_size() -> None:
    def floor(count: int) -> float:
        made = features(2 * count)
        return frechet_distance(moments(made[:count]), moments(made[count:]))

    assert floor(100) > 3 * floor(2000)


def test_equal_sets_have_precision_and_recall_1_and_distant_ones_0() -> None:
    made = features(60)
    assert precision_recall(made, made) == (1, 1)
    assert precision_recall(made, made + 1000) == (0, 0)


def test_samples_of_one_mode_of_two_are_precise_and_recall_half() -> None:
    real = torch.cat([features(100), features(100, seed=1) + 1000])
    found = precision_recall(real, features(3000)[:100])
    assert found.precision > 0.8
    assert 0.2 < found.recall < 0.51


def test_precision_and_recall_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0]])  # radii to the nearest: 1, 1, 2
    samples = torch.tensor([[-0.5], [4.9], [5.1], [9.0]])  # radii 5.4, 0.2, 0.2, 3.9
    assert precision_recall(real, samples, k=1) == pytest.approx((2 / 4, 3 / 3))


def test_nearest_is_found_across_chunks() -> None:
    references = features(2500)
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(2))
    found = nearest(references[order] + 1e-6, references)
    assert torch.equal(found.which, order)
    assert found.distance.max() < 1e-4


def test_a_set_smaller_than_the_neighbourhood_reaches_to_its_farthest_point() -> None:
    few = torch.tensor([[0.0], [3.0]])
    points = torch.tensor([[-2.5], [5.5], [7.0]])
    assert precision_recall(few, points).precision == pytest.approx(2 / 3)
