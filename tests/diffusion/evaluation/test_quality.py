"""Quality of samples on sets whose answer is plain."""

from typing import Any

import numpy as np
import pytest
import torch

from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.draws import NUM_DRAWS, draw_sets
from diffusion.evaluation.features import Features, of_classifier
from diffusion.evaluation.frechet import DistanceTo, moments
from diffusion.evaluation.neighbours import Manifold, precision_recall
from diffusion.evaluation.quality import (
    Reference,
    Samples,
    measure_floor,
    quality,
    sample_grid,
)


def images(count: int, seed: int, low: int = 0, high: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(1, 2).eval()


def reference(features: Features, train: torch.Tensor, count: int) -> tuple[Reference, Any]:
    """A reference of half of the images, and the floor of sets of the other half."""
    half, other = train.chunk(2)
    real = Reference(DistanceTo(moments(features(half))), Manifold(features(half[:count])))
    draws = draw_sets(torch.arange(len(other)), None, count, seed=0)
    return real, measure_floor(real, draws, [features(other[i]) for i in draws.indices])


def measured(classifier: Classifier, samples: Samples, real: Reference) -> dict[str, Any]:
    features = of_classifier(classifier)(samples.pixels)
    return quality(classifier, samples, features, real, seed=0)


def test_the_floor_is_the_mean_and_deviation_of_real_sets(classifier: Classifier) -> None:
    extract = of_classifier(classifier)
    real, floor = reference(extract, images(440, 0), count=20)
    assert (floor["images"], floor["draws"], floor["kind"]) == (20, NUM_DRAWS, "disjoint")
    draws = draw_sets(torch.arange(220), None, 20, seed=0)
    sets = [extract(images(440, 0)[220:][which]) for which in draws.indices]
    distances = [real.distance(found) for found in sets]
    assert floor["frechet"] == pytest.approx(np.mean(distances))
    assert floor["frechet_deviation"] == pytest.approx(np.std(distances, ddof=1))
    shares = [precision_recall(real.manifold, found) for found in sets]
    assert floor["precision"] == pytest.approx(np.mean([s.precision for s in shares]))
    assert floor["recall_deviation"] == pytest.approx(np.std([s.recall for s in shares], ddof=1))
    assert "frechet_infinity" not in floor, "20 images are fewer than 128 dimensions"


def test_new_samples_like_the_data_score_as_the_floor_and_others_do_not(
    classifier: Classifier,
) -> None:
    real, floor = reference(of_classifier(classifier), images(800, 0), count=150)
    like = measured(classifier, Samples(images(150, 1), None, 2.0), real)
    dark = measured(classifier, Samples(images(150, 2, high=60), None, 2.0), real)
    for name in ("frechet", "precision", "recall", "frechet_infinity"):
        assert abs(like[name] - floor[name]) < 5 * floor[f"{name}_deviation"], name
        assert abs(dark[name] - floor[name]) > 10 * floor[f"{name}_deviation"], name
    low, high = like["frechet_interval"]
    assert low <= like["frechet"] <= high < dark["frechet_interval"][0]
    assert (like["images"], like["images_per_second"]) == (150, 75.0)
    assert "recognised" not in like


@pytest.mark.parametrize(
    ("pool", "kind"),
    [
        ([2000] * 10, "disjoint"),
        ([60] * 10, "overlapping"),
        ([23] * 10, "overlapping"),
        ([23] + [2000] * 9, "overlapping"),
        ([5] + [2000] * 9, "repeating"),
    ],
    ids=["enough", "a third", "nearly all", "one label nearly all", "one label repeats"],
)
def test_the_deviation_is_that_of_sets_that_share_nothing(pool: list[int], kind: str) -> None:
    """That of the sets alone would be too small by what they share; and one label of which there
    are few images must not count as if all labels were such."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(torch.tensor(pool))

    def normal(count: int) -> torch.Tensor:
        return torch.randn(count, 8, generator=random).double()

    whole = normal(10_000)
    real = Reference(DistanceTo(moments(whole)), Manifold(whole[:200]))
    told: dict[str, list[float]] = {"frechet": [], "precision": [], "recall": []}
    for seed in range(15):
        draws = draw_sets(torch.arange(len(labels)), labels, torch.arange(200) % 10, seed)
        assert draws.kind == kind
        images = normal(len(labels))
        floor = measure_floor(real, draws, [images[which] for which in draws.indices])
        for name, values in told.items():
            values.append(floor[f"{name}_deviation"])
    fresh = [normal(200) for _ in range(60)]
    covered = [precision_recall(real.manifold, made) for made in fresh]
    truth = {
        "frechet": np.std([real.distance(made) for made in fresh]),
        "precision": np.std([each.precision for each in covered]),
        "recall": np.std([each.recall for each in covered]),
    }
    for name, values in told.items():
        assert np.mean(values) == pytest.approx(truth[name], rel=0.3), name


def test_sets_that_repeat_images_cover_the_data_as_far_as_their_different_images_do(
    classifier: Classifier,
) -> None:
    _, floor = reference(of_classifier(classifier), images(80, 0), count=80)
    assert floor["kind"] == "repeating"
    assert floor["recall"] > 0.3, "not shrunk to nothing by images that are their own neighbours"


def test_samples_are_recognised_by_the_label_asked_for(classifier: Classifier) -> None:
    real, _ = reference(of_classifier(classifier), images(60, 0), count=20)
    made = images(30, 1)
    labels = classifier(made.float() / 127.5 - 1).argmax(dim=1)
    right = measured(classifier, Samples(made, labels, 1.0), real)
    assert right["recognised"] == 1 and right["recognised_labels"] == labels.unique().tolist()
    assert right["recognised_interval"] == pytest.approx([0.886, 1], abs=1e-3)
    assert measured(classifier, Samples(made, 1 - labels, 1.0), real)["recognised"] == 0
    features = of_classifier(classifier)(made)
    assert "recognised" not in quality(None, Samples(made, labels, 1.0), features, real, seed=0)


def test_a_grid_has_a_row_for_each_class() -> None:
    made = images(30, 0)
    grid = sample_grid(Samples(made, torch.arange(30) % 3, 1.0))
    assert grid.shape == (3 * 8, 10 * 8, 1)
    np.testing.assert_array_equal(grid[8:16, 8:16, 0], made[4, 0])
    assert sample_grid(Samples(images(450, 0), None, 1.0)).shape == (20 * 8, 20 * 8, 1)
    assert sample_grid(Samples(made[:3], None, 1.0)).shape == (8, 3 * 8, 1)
