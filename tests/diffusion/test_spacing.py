"""Kept timesteps, the three ways to count along a chain, and the defaults."""

from typing import get_args

import pytest

from diffusion.spacing import SamplerName, Spacing, default_steps, default_variance


def test_kept_timesteps_are_evenly_spaced_and_start_at_pure_noise() -> None:
    assert Spacing.even(1000, 4).kept == (249, 499, 749, 999)
    assert Spacing.even(10, 3).kept == (2, 6, 9)
    assert Spacing.even(1000, 1000).kept == tuple(range(1000))
    for steps in range(1, 51):
        kept = list(Spacing.even(50, steps).kept)
        assert len(set(kept)) == steps and kept == sorted(kept) and kept[-1] == 49


@pytest.mark.parametrize("steps", [0, -1, 51])
def test_more_or_fewer_steps_than_the_chain_has_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps: {steps} is not allowed; it must be 1..50"):
        Spacing.even(50, steps)


def test_the_network_counts_from_zero_and_the_paper_from_one_down_to_the_image() -> None:
    spacing = Spacing((249, 499, 749, 999))
    assert len(spacing) == 4
    assert spacing.network_t == (999, 749, 499, 249)
    assert spacing.paper_t == (1000, 750, 500, 250, 0)


def test_positions_at_even_distances_include_both_ends() -> None:
    assert Spacing.even(1000, 1000).even_positions(11) == list(range(0, 1001, 100))
    assert Spacing.even(1000, 4).even_positions(2) == [0, 4]
    assert Spacing.even(1000, 2).even_positions(100) == [0, 1, 2]


def test_a_time_that_is_not_visited_has_the_position_of_the_nearest_one() -> None:
    spacing = Spacing((249, 499, 749, 999))
    assert [spacing.position_of(t) for t in (1000, 760, 740, 0)] == [0, 1, 1, 4]
    assert spacing.position_of(875) == 0, "of two equally near, the noisier"
    assert spacing.positions_of([0, 740, 760, 1000]) == [0, 1, 4]


def test_defaults() -> None:
    assert [default_steps(name, 1000) for name in get_args(SamplerName)] == [1000, 50, 20, 20, 20]
    assert [default_steps(name, 10) for name in get_args(SamplerName)] == [10] * 5
    assert default_variance("fixed_large", 1000, 1000) == "fixed_large"
    assert default_variance("fixed_large", 999, 1000) == "fixed_small"
