"""A data set's splits by name, and what its errors may hold."""

import pytest
import torch

from diffusion.data.images import DataError, DataSet, Images, LeftOut, NoSplitError

ONE = Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), None)


def test_a_split_is_found_by_its_name() -> None:
    assert DataSet({"train": ONE}).split("train") is ONE
    assert len(ONE) == 1


def test_a_missing_split_is_an_error_that_says_how_to_have_it() -> None:
    with pytest.raises(NoSplitError, match="no test split, only train.*holdout"):
        DataSet({"train": ONE}).split("test")


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (3, 1, 0, 2)])
def test_images_without_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="they have no pixels"):
        Images(torch.zeros(shape, dtype=torch.uint8), None)


def test_errors_and_what_is_left_out_are_one_line_whatever_the_names() -> None:
    assert str(DataError("a\nb\x1b[31m")) == r"a\nb\x1b[31m"
    assert str(LeftOut("a\n.png", "cannot be\tread")) == r"a\n.png: cannot be\tread"
