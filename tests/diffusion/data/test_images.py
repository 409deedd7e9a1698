"""A data set's splits by name."""

import pytest
import torch

from diffusion.data.images import DataSet, Images, NoSplitError

ONE = Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), None)


def test_a_split_is_found_by_its_name() -> None:
    assert DataSet({"train": ONE}).split("train") is ONE
    assert len(ONE) == 1


def test_a_missing_split_is_an_error_that_says_how_to_have_it() -> None:
    with pytest.raises(NoSplitError, match="no test split, only train.*holdout"):
        DataSet({"train": ONE}).split("test")
