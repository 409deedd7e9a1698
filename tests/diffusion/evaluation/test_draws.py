"""Which labels samples have, and that real images beside them have the same."""

import pytest
import torch

from diffusion.data.images import Images
from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.draws import (
    NUM_DRAWS,
    choose,
    draw_sets,
    real_images,
    sample_labels,
)

LABELS = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
POOL = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:800]


def counts(labels: torch.Tensor | None) -> list[int]:
    assert labels is not None
    return torch.bincount(labels, minlength=3).tolist()


def test_labels_are_balanced_or_as_frequent_as_in_the_data() -> None:
    balanced, data = (sample_labels(50, 3, mix, LABELS) for mix in ("balanced", "data"))
    assert counts(balanced) == [17, 17, 16]
    assert counts(data) == [30, 15, 5]
    assert counts(sample_labels(7, 3, "data", LABELS)) == [4, 2, 1], "4.2, 2.1 and 0.7"
    assert sample_labels(50, 0, "balanced", LABELS) is None
    with pytest.raises(EvaluationError, match="labels: 'data' is not allowed: the data have no"):
        sample_labels(50, 3, "data", None)


def test_sets_have_the_labels_of_the_samples_and_share_no_image() -> None:
    wanted = torch.arange(12) % 3
    drawn = draw_sets(POOL, LABELS, wanted, seed=0)
    assert (drawn.kind, drawn.own, drawn.common) == ("disjoint", 1, 0) and len(
        drawn.indices
    ) == NUM_DRAWS
    for which in drawn.indices:
        assert LABELS[which].tolist() == drawn.labels.tolist()
        assert counts(LABELS[which]) == counts(wanted) == [4, 4, 4]
    together = torch.cat(drawn.indices)
    assert len(together.unique()) == len(together)
    assert set(together.tolist()) <= set(POOL.tolist())


def test_too_few_images_of_a_label_for_that_are_drawn_anew_for_each_set() -> None:
    drawn = draw_sets(POOL, LABELS, torch.arange(60) % 3, seed=0)
    assert drawn.kinds == {0: "disjoint", 1: "disjoint", 2: "overlapping"}
    assert (drawn.kind, drawn.scarce) == ("overlapping", [])
    share = 20 / int((LABELS[POOL] == 2).sum())
    assert drawn.common == pytest.approx(share / 3), "each label by its share of a set"
    assert drawn.own == pytest.approx(1 - drawn.common)
    for which in drawn.indices:
        assert len(which.unique()) == 60 and counts(LABELS[which]) == [20, 20, 20]


def test_fewer_images_of_a_label_than_samples_are_drawn_with_repetition() -> None:
    drawn = draw_sets(POOL, LABELS, torch.arange(600) % 3, seed=0)
    assert drawn.kinds == {0: "overlapping", 1: "overlapping", 2: "repeating"}
    assert (drawn.kind, drawn.scarce) == ("repeating", [2])
    for which in drawn.indices:
        assert counts(LABELS[which]) == [200, 200, 200]
        assert [len(which[LABELS[which] == k].unique()) for k in (0, 1)] == [200, 200]
        assert len(which[LABELS[which] == 2].unique()) < 200


def test_without_labels_none_is_scarce() -> None:
    drawn = draw_sets(POOL, None, 900, seed=0)
    assert (drawn.kind, drawn.scarce, drawn.labels) == ("repeating", [], None)


@pytest.mark.parametrize(("labels", "wanted"), [(LABELS, 20), (None, torch.arange(20) % 3)])
def test_without_labels_of_either_any_images_are_drawn(
    labels: torch.Tensor | None, wanted: torch.Tensor | int
) -> None:
    drawn = draw_sets(POOL, labels, wanted, seed=0)
    assert (drawn.labels, drawn.kind) == (None, "disjoint")
    assert all(len(which) == 20 for which in drawn.indices)
    assert len(torch.cat(drawn.indices).unique()) == 200


def test_a_label_without_images_is_refused() -> None:
    with pytest.raises(EvaluationError, match="too few training images of label 2"):
        draw_sets(torch.arange(900), LABELS, torch.arange(30) % 3, seed=0)


def test_images_are_chosen_at_random_and_fewer_are_a_part_of_more() -> None:
    assert not torch.equal(choose(100, 10, seed=0), torch.arange(10))
    assert torch.equal(choose(100, 50, seed=0)[:10], choose(100, 10, seed=0))
    assert sorted(choose(5, 9, seed=0).tolist()) == [0, 1, 2, 3, 4]


def test_the_reference_is_a_half_of_which_no_image_measures_the_floor() -> None:
    images = Images(torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), LABELS)
    for wanted in (torch.arange(12) % 3, torch.arange(300) % 3, 400):
        reference, draws = real_images(images, wanted, seed=0)
        assert len(reference.unique()) == 500
        assert not set(reference.tolist()) & set(torch.cat(draws.indices).tolist())
        assert counts(LABELS[reference]) == pytest.approx([300, 150, 50], abs=30), "at random"
