"""Values in errors; how they become JSON is in test_requests."""

import numpy as np
import pytest

from app.client.values import SHOWN, plain, refused


def test_an_array_is_shown_by_its_kind() -> None:
    error = refused("start.x_t", np.zeros((2, 3)), "too flat")
    assert str(error) == "start.x_t: float64 of shape (2, 3) is not allowed: too flat"


def test_a_long_value_is_cut() -> None:
    assert len(str(refused("n", "9" * 10_000, "too long"))) < SHOWN + 50


def test_only_finite_numbers_pass_also_within_lists() -> None:
    with pytest.raises(ValueError, match="^weight: nan is not allowed"):
        plain("weight", [0.5, np.float32("nan")])
