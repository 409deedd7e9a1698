"""Samples that copy training images are found out, also where training moved or mirrored these."""

import numpy as np
import pytest
import torch

from diffusion.evaluation.copies import Changes, copies
from tests.diffusion.evaluation.test_quality import images

AS_THEY_ARE = Changes()


def test_copies_of_training_images_are_found_out() -> None:
    train = images(40, 0)
    found, grid = copies(train[torch.tensor([3, 5, 30])], train, images(5, 1), AS_THEY_ARE)
    assert found["samples_median"] == 0 < found["test_least"]
    assert found["copies"] == 1
    np.testing.assert_array_equal(grid[:8], grid[8:])


def test_of_new_images_one_in_twenty_counts_as_a_copy() -> None:
    train, new = images(200, 0), images(2000, 1)
    found, _ = copies(new[:1000], train, new[1000:], AS_THEY_ARE)
    assert found["copies"] == pytest.approx(0.05, abs=0.03)


def test_a_copy_is_found_in_each_way_in_which_training_showed_the_image() -> None:
    train = images(1100, 0)  # more than are compared together
    which = torch.tensor([0, 999, 1000, 1099])
    window = train[which].flip(-1).roll((1, -2), dims=(2, 3))
    window[:, :, 0], window[..., -2:] = window[:, :, 1], window[..., -3:-2]
    test = images(50, 1)
    found, grid = copies(window, train, test, Changes(flip=True, shift=2))
    assert found["samples_median"] == found["samples_least"] == 0 and found["copies"] == 1
    np.testing.assert_array_equal(grid[8:, :8, 0], train[0, 0])
    np.testing.assert_array_equal(grid[8:, 24:, 0], train[1099, 0])
    assert copies(window, train, test, AS_THEY_ARE)[0]["samples_least"] > 0


def test_the_distance_to_the_nearest_is_in_grey_levels() -> None:
    train = images(10, 0, high=200)
    found, _ = copies(train[:4] + 7, train, train[4:] + 9, AS_THEY_ARE)
    assert found["samples_median"] == pytest.approx(7)
    assert found["test_median"] == pytest.approx(9)


def test_without_a_test_split_only_samples_are_told() -> None:
    train = images(40, 0)
    found, _ = copies(train[:3], train, None, AS_THEY_ARE)
    assert found["samples_median"] == 0 and "test_median" not in found


def test_the_changes_are_those_of_the_training_table() -> None:
    assert Changes.of_training({}) == AS_THEY_ARE
    assert Changes.of_training({"horizontal_flip": ["faces"], "shift": 2}) == Changes(True, 2)
    assert Changes.of_training({"horizontal_flip": False}) == AS_THEY_ARE
