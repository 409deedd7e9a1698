"""Times and sizes in words."""

import pytest

from diffusion.training.words import duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min"),
        (86_399, "1 d 0 h"), (360_000, "4 d 4 h"),
    ],
)  # fmt: skip
def test_a_time_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_size_is_told_in_a_unit_that_fits() -> None:
    assert [size(count) for count in (2.4e6, 999e6, 1e9, 71.46e9)] == [
        "2 MB", "999 MB", "1.0 GB", "71.5 GB",
    ]  # fmt: skip
