"""Kept and shown timesteps, and the defaults."""

import pytest

from diffusion.spacing import (
    chain_times,
    default_steps,
    default_variance,
    evenly_shown,
    evenly_spaced,
    nearest_shown,
)


def test_kept_timesteps_are_evenly_spaced_and_start_at_pure_noise() -> None:
    assert evenly_spaced(1000, 4) == [249, 499, 749, 999]
    assert evenly_spaced(10, 3) == [2, 6, 9]
    assert evenly_spaced(1000, 1000) == list(range(1000))
    for steps in range(1, 51):
        kept = evenly_spaced(50, steps)
        assert len(set(kept)) == steps and kept == sorted(kept) and kept[-1] == 49


@pytest.mark.parametrize("steps", [0, -1, 51])
def test_more_or_fewer_steps_than_the_chain_has_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps: {steps} is not allowed; it must be 1..50"):
        evenly_spaced(50, steps)


def test_times_count_as_in_the_paper() -> None:
    assert chain_times([249, 499, 749, 999]) == [1000, 750, 500, 250, 0]


def test_shown_states_include_both_ends() -> None:
    assert evenly_shown(1001, 11) == list(range(0, 1001, 100))
    assert evenly_shown(5, 2) == [0, 4]
    assert evenly_shown(3, 100) == [0, 1, 2]


def test_a_time_that_is_not_visited_gets_the_nearest_one() -> None:
    times = [1000, 750, 500, 250, 0]
    assert nearest_shown(times, [0, 740, 760, 1000]) == [0, 1, 4]


def test_defaults() -> None:
    assert [default_steps(name, 1000) for name in ("ddpm", "ddim", "dpmpp")] == [1000, 50, 20]
    assert [default_steps(name, 10) for name in ("ddpm", "ddim", "dpmpp")] == [10, 10, 10]
    assert default_variance("fixed_large", 1000, 1000) == "fixed_large"
    assert default_variance("fixed_large", 999, 1000) == "fixed_small"
