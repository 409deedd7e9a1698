"""Precision, recall and nearest neighbours, on sets whose answer is plain."""

import pytest
import torch
from torch import Tensor

from diffusion.evaluation import neighbours
from diffusion.evaluation.neighbours import Manifold, PrecisionRecall, nearest
from tests.diffusion.evaluation.test_frechet import features


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> PrecisionRecall:
    return neighbours.precision_recall(Manifold(real, k), samples, k)


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


def test_nearest_is_found_across_parts_and_chunks() -> None:
    references = features(2500)
    order = torch.randperm(2500, generator=torch.Generator().manual_seed(2))
    found = nearest(references[order] + 1e-6, references.split(700))
    assert torch.equal(found.which, order)
    assert found.distance.max() < 1e-4


def test_a_set_smaller_than_the_neighbourhood_reaches_to_its_farthest_point() -> None:
    few = torch.tensor([[0.0], [3.0]])
    points = torch.tensor([[-2.5], [5.5], [7.0]])
    assert precision_recall(few, points).precision == pytest.approx(2 / 3)
