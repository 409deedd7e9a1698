"""The lists of timesteps on a model card: which there are, and what is refused."""

import re
from typing import Any

import pytest

from diffusion.fields import ConfigError
from diffusion.tuned import check_tuned, step_counts, tuned_list

TUNED = {
    "unipc": {"3": [100, 50, 9], "2": [100, 30], "4": [100, 60, 30, 1]},
    "ddim": {"2": [100, 20], "10": [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]},
}
SAMPLERS = ("ddim", "unipc")


def test_a_list_is_found_by_sampler_and_number_of_steps() -> None:
    assert tuned_list(TUNED, "unipc", 3) == [100, 50, 9]
    assert step_counts(TUNED) == {"unipc": [2, 3, 4], "ddim": [2, 10]}


def test_where_there_is_none_the_error_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no list of 3 steps of ddim is tuned") as error:
        tuned_list(TUNED, "ddim", 3)
    assert str(error.value).endswith("; there are: unipc in 2..4; ddim in 2, 10")
    with pytest.raises(ValueError, match="no tuned lists; `ddpm tune` makes them"):
        tuned_list({}, "ddim", 3)


@pytest.mark.parametrize(
    ("tuned", "message"),
    [
        ([], "tuned: it must be a table"),
        ({"heun": {}}, "tuned: 'heun' is not allowed; it must be by sampler: ddim, unipc"),
        ({"ddim": [100]}, "tuned.ddim: it must be a table"),
        ({"ddim": {}}, "tuned.ddim: {} is not allowed; it must be a table with a list or more"),
        ({"ddim": {"2": [100]}}, "tuned.ddim: {'2': [100]} is not allowed; it must be by the"),
        ({"ddim": {"two": [100, 1]}}, "tuned.ddim: {'two': [100, 1]} is not allowed"),
        ({"ddim": {"2\n": [100, 1]}}, r"tuned.ddim: {'2\n': [100, 1]} is not allowed"),
        ({"ddim": {"2": [99, 1]}}, "tuned.ddim: {'2': [99, 1]} is not allowed"),
        ({"ddim": {"2": [100, 0]}}, "tuned.ddim: {'2': [100, 0]} is not allowed"),
        ({"ddim": {"2": [100, 100]}}, "tuned.ddim: {'2': [100, 100]} is not allowed"),
        ({"ddim": {"2": [100, 1.5]}}, "tuned.ddim: {'2': [100, 1.5]} is not allowed"),
        ({"ddim": {"0": []}}, "tuned.ddim: {'0': []} is not allowed"),
    ],
)
def test_a_card_that_is_not_so_is_refused_at_its_place(tuned: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_tuned(tuned, SAMPLERS, 100)
    check_tuned(TUNED, SAMPLERS, 100)
    check_tuned({}, SAMPLERS, 100)
