"""Quality of samples on sets whose answer is plain."""

from typing import Any

import numpy as np
import pytest
import torch

from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.features import of_classifier
from diffusion.evaluation.frechet import frechet_distance, moments
from diffusion.evaluation.quality import Reference, Samples, halves, memorisation, quality


def images(count: int, seed: int, low: int = 0, high: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(1, 2).eval()


def reference(classifier: Classifier, train: torch.Tensor, count: int) -> Reference:
    half, other = halves(train, count, seed=0)
    extract = of_classifier(classifier)
    return Reference.of(extract(half), extract(other))


def measured(classifier: Classifier, samples: Samples, real: Reference) -> dict[str, Any]:
    return quality(classifier, samples, of_classifier(classifier)(samples.pixels), real)


def test_copies_of_training_images_are_found_out() -> None:
    train = images(40, 0)
    found, grid = memorisation(train[torch.tensor([3, 5, 30])], train, images(5, 1))
    assert found["samples_median"] == 0 < found["test_least"]
    np.testing.assert_array_equal(grid[:8], grid[8:])


def test_the_distance_to_the_nearest_is_in_grey_levels() -> None:
    train = images(10, 0, high=200)
    found, _ = memorisation(train[:4] + 7, train, train[4:] + 9)
    assert found["samples_median"] == pytest.approx(7)
    assert found["test_median"] == pytest.approx(9)


def test_the_floor_is_between_halves_that_share_no_image(classifier: Classifier) -> None:
    train = images(60, 0)
    half, other = halves(train, count=20, seed=3)
    assert (len(half), len(other)) == (30, 20)
    rows = [tuple(image.flatten().tolist()) for image in torch.cat([half, other])]
    assert len(set(rows)) == 50
    assert set(rows) <= {tuple(image.flatten().tolist()) for image in train}
    extract = of_classifier(classifier)
    real = Reference.of(extract(half), extract(other))
    assert real.floor == frechet_distance(moments(extract(other)), moments(extract(half))) > 0
    assert real.num_floor == 20


def test_samples_like_the_data_are_near_the_floor_and_others_far(classifier: Classifier) -> None:
    real = reference(classifier, images(400, 0), count=100)
    like = measured(classifier, Samples(images(100, 1), None, 2.0), real)
    dark = measured(classifier, Samples(images(100, 2, high=60), None, 2.0), real)
    assert like["frechet"] < 3 * real.floor < dark["frechet"]
    assert like["precision"] > dark["precision"]
    assert (like["images"], like["images_per_second"]) == (100, 50.0)
    assert "recognised" not in like


def test_samples_are_recognised_by_the_label_asked_for(classifier: Classifier) -> None:
    real = reference(classifier, images(60, 0), count=20)
    made = images(30, 1)
    labels = classifier(made.float() / 127.5 - 1).argmax(dim=1)
    assert measured(classifier, Samples(made, labels, 1.0), real)["recognised"] == 1
    assert measured(classifier, Samples(made, 1 - labels, 1.0), real)["recognised"] == 0
