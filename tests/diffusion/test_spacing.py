"""Kept timesteps, the three ways to count along a chain, and the defaults."""

import math
from typing import get_args

import pytest

from diffusion.spacing import (
    FormulaName,
    SamplerName,
    Spacing,
    default_steps,
    default_variance,
    kept_timesteps,
)


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


ALPHA_BAR = [1.0]
for _beta in (1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000)):
    ALPHA_BAR.append(ALPHA_BAR[-1] * (1 - _beta))
del ALPHA_BAR[0]
"""The paper's, by the code's t."""


@pytest.mark.parametrize("name", get_args(FormulaName))
def test_every_spacing_keeps_as_many_timesteps_as_asked_for_each_once_and_T(
    name: FormulaName,
) -> None:
    for steps in (1, 2, 3, 7, 50, 500, 997, 1000):
        kept = Spacing.by_name(name, steps, ALPHA_BAR).kept
        assert len(set(kept)) == steps and list(kept) == sorted(kept)
        assert kept[0] >= 0 and kept[-1] == 999


def test_the_spacings_are_those_of_their_formulas() -> None:
    """By formula, and the timesteps nearest to it: none is far from its value."""
    sigma = [math.sqrt((1 - a) / a) for a in ALPHA_BAR]
    S = 10
    squares = [1000 * (i / S) ** 2 for i in range(1, S + 1)]
    quadratic = Spacing.by_name("quadratic", S, ALPHA_BAR).kept
    assert [t + 1 for t in quadratic] == [round(t) for t in squares]
    low, high = sigma[0], 80.0
    for name, scaled in (
        ("log_snr", [low * (high / low) ** (i / (S - 1)) for i in range(S)]),
        ("karras", [
            (low ** (1 / 7) + i / (S - 1) * (high ** (1 / 7) - low ** (1 / 7))) ** 7
            for i in range(S)
        ]),
    ):  # fmt: skip
        kept = Spacing.by_name(name, S, ALPHA_BAR).kept  # type: ignore[arg-type]
        for t, wanted in list(zip(kept, scaled, strict=True))[1:-1]:
            near = range(max(t - 1, 0), min(t + 2, 1000))
            assert sigma[near[0]] <= wanted <= sigma[near[-1]], (name, t)


def test_where_the_noise_has_no_end_only_the_first_step_lies_beyond_80() -> None:
    cosine = [math.cos((t + 8) / 1008 * math.pi / 2) ** 2 for t in range(1, 1000)] + [2e-9]
    for name in ("log_snr", "karras"):
        kept = Spacing.by_name(name, 8, cosine).kept  # type: ignore[arg-type]
        sigma = [math.sqrt((1 - cosine[t]) / cosine[t]) for t in kept]
        assert sigma[-1] > 80 and all(one < 80 for one in sigma[:-1]), name


def test_a_list_of_the_papers_t_falls_from_T() -> None:
    assert Spacing.of_paper_t([50, 20, 1], 50).kept == (0, 19, 49)
    assert Spacing.of_paper_t([50], 50).kept == (49,)
    for wrong, message in (
        ([], "the list is empty; it must begin with T = 50"),
        ([49, 1], "the list begins with 49; it must begin with T = 50"),
        ([50, 51], "51 comes after 50; t must fall, and be 1..50"),
        ([50, 20, 20], "20 comes after 20"),
        ([50, 0], "0 comes after 50"),
    ):
        with pytest.raises(ValueError, match=message):
            Spacing.of_paper_t(wrong, 50)


def test_a_request_keeps_what_its_spacing_says_and_as_many_as_its_sampler_needs() -> None:
    tuned = {"ddim": {"3": [1000, 20, 5]}}
    even = kept_timesteps("even", None, "ddim", ALPHA_BAR, tuned)
    assert even == Spacing.even(1000, 50)
    karras = kept_timesteps("karras", 8, "unipc", ALPHA_BAR, tuned)
    assert karras == Spacing.by_name("karras", 8, ALPHA_BAR)
    assert kept_timesteps([1000, 20, 3], None, "ddpm", ALPHA_BAR, tuned).kept == (2, 19, 999)
    assert kept_timesteps("tuned", 3, "ddim", ALPHA_BAR, tuned).kept == (4, 19, 999)
    with pytest.raises(ValueError, match="must begin with T = 1000"):
        kept_timesteps([10], None, "ddpm", ALPHA_BAR, tuned)
    with pytest.raises(ValueError, match="no list of 50 steps of ddim is tuned"):
        kept_timesteps("tuned", None, "ddim", ALPHA_BAR, tuned)


def test_the_network_counts_from_zero_and_the_paper_from_one_down_to_the_image() -> None:
    spacing = Spacing((249, 499, 749, 999))
    assert len(spacing) == 4
    assert spacing.network_t == (999, 749, 499, 249)
    assert spacing.paper_t == (1000, 750, 500, 250, 0)


def test_a_time_that_is_not_visited_has_the_position_of_the_nearest_one() -> None:
    spacing = Spacing((249, 499, 749, 999))
    assert [spacing.position_of(t) for t in (1000, 760, 740, 0)] == [0, 1, 1, 4]
    assert spacing.position_of(875) == 0, "of two equally near, the noisier"


def test_a_state_that_is_given_is_at_a_timestep_that_is_kept() -> None:
    spacing = Spacing((249, 499, 749, 999))
    assert spacing.beginning_at(500) == Spacing((249, 499))
    with pytest.raises(ValueError, match="the nearest t that it keeps is 500"):
        spacing.beginning_at(510)
    with pytest.raises(ValueError, match="the nearest t that it keeps is 250"):
        spacing.beginning_at(0)


def test_defaults_of_steps_and_variance_follow_the_sampler_and_the_chain() -> None:
    assert [default_steps(name, 1000) for name in get_args(SamplerName)] == [1000, 50, 20, 20, 20]
    assert [default_steps(name, 10) for name in get_args(SamplerName)] == [10] * 5
    assert default_variance("fixed_large", 1000, 1000) == "fixed_large"
    assert default_variance("fixed_large", 999, 1000) == "fixed_small"


def test_a_chain_may_begin_below_the_noise() -> None:
    spacing = Spacing.even(1000, 4)
    assert spacing.up_to(1000) == spacing
    assert spacing.up_to(750).paper_t == spacing.up_to(999).paper_t == (750, 500, 250, 0)
    with pytest.raises(ValueError, match="the chain's lowest kept timestep is 250; give a higher"):
        spacing.up_to(249)
