"""The chain of a request: its timesteps, its way, and what of it is shown and guided."""

import dataclasses
from typing import Any

import pytest

from app.generation.chain import Chain, guidance_interval, shown_positions
from app.generation.errors import InvalidField
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.generation.starts import Begun
from app.settings import Settings
from app.wire import starts as wire
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

T = MODEL.num_timesteps


def chain(model: ModelInfo = MODEL, begun: Begun | None = None, **fields: Any) -> Chain:
    return Chain.of(SampleRequest.model_validate(fields), model, begun)


def refusal(model: ModelInfo = MODEL, **fields: Any) -> tuple[str, Any, str]:
    with pytest.raises(InvalidField) as error:
        chain(model, **fields)
    return error.value.name, error.value.value, error.value.reason


def interval(**fields: Any) -> tuple[int, int] | None:
    return guidance_interval(SampleRequest.model_validate(fields), T)


def shown(limits: Settings | None = None, **fields: Any) -> tuple[int, ...]:
    """The t of a trajectory's frames."""
    request = TrajectoryRequest.model_validate(fields)
    course = Chain.of(request, MODEL, None).course
    positions = shown_positions(request, course, T, limits or Settings())
    return tuple(course.paper_t[position] for position in positions)


def test_a_list_of_timesteps_stands_instead_of_steps_and_falls_from_T() -> None:
    assert chain(spacing=[100, 70, 5]).course.paper_t == (100, 70, 5, 0)
    for spacing, reason in (
        ([99, 50], "the list begins with 99; it must begin with T = 100, where x_T is noise"),
        ([], "the list is empty; it must begin with T = 100, where x_T is noise"),
        ([100, 50, 50], "50 comes after 50; t must fall, and be 1..100"),
        ([100, 0], "0 comes after 100; t must fall, and be 1..100"),
    ):
        assert refusal(spacing=spacing) == ("spacing", spacing, reason)
    reason = "spacing is a list of the timesteps, so leave steps out"
    assert refusal(spacing=[100, 50], steps=2) == ("steps", 2, reason)


def test_a_tuned_spacing_is_the_cards_list_and_stays_it() -> None:
    tuned = chain(sampler="unipc", steps=4, spacing="tuned")
    assert tuned.spacing.kept == (4, 29, 69, 99)
    assert tuned.lasting_spacing == (100, 70, 30, 5), "which another card does not change"
    reason = "no list of 5 steps of unipc is tuned; there are: unipc in 4"
    assert refusal(sampler="unipc", steps=5, spacing="tuned") == ("spacing", "tuned", reason)
    untuned = dataclasses.replace(MODEL, tuned={})
    reason = "this checkpoint has no tuned lists; `ddpm tune` makes them"
    assert refusal(untuned, spacing="tuned") == ("spacing", "tuned", reason)


@pytest.mark.parametrize("sampler", ["unipc", "ipndm"])
def test_a_chain_that_begins_at_alpha_bar_0_needs_a_sampler_that_can(sampler: str) -> None:
    alpha_bar = (*MODEL.alpha_bar[:-1], 0.0)
    zero = dataclasses.replace(MODEL, alpha_bar=alpha_bar, alpha_bar_T=0.0)
    field, value, reason = refusal(zero, sampler=sampler)
    assert (field, value) == ("sampler", sampler)
    assert "zero terminal SNR" in reason and reason.endswith("use one of ddpm, ddim, dpmpp")
    for spacing in ("even", "quadratic", "log_snr", "karras"):
        assert len(chain(zero, sampler="dpmpp", steps=8, spacing=spacing).course) == 8


def test_a_network_that_cannot_be_told_t_1_needs_a_chain_that_ends_above_it() -> None:
    model = dataclasses.replace(MODEL, min_timestep=1)
    field, value, reason = refusal(model, steps=100)
    assert (field, value) == ("spacing", "even") and "cannot be told t = 1" in reason
    assert len(chain(model, steps=50).course) == 50


def test_a_chain_that_begins_below_T_keeps_those_of_its_timesteps_that_are_left() -> None:
    picture = wire.Start(kind="image", pictures=(bytes(192),))
    begun = chain(begun=Begun(picture, 55), sampler="ddim", steps=10)
    assert begun.course.paper_t == (50, 40, 30, 20, 10, 0)
    assert len(begun.whole) == 10, "as the request has it"


def test_a_chain_goes_back_up_only_over_steps_that_it_has() -> None:
    again = chain(steps=3, resamplings=2, jump=2)
    assert again.course.paper_t == (100, 67, 100, 67, 33, 0)
    reason = "it must be less than the 3 steps of the chain"
    assert refusal(steps=3, resamplings=2, jump=3) == ("jump", 3, reason)
    field, value, reason = refusal(steps=1, resamplings=2, jump=1)
    assert (field, value) == ("resamplings", 2) and "it must be 1" in reason


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"steps": 9}, "steps"),
        ({"steps": 9, "spacing": "karras"}, "steps"),
        ({"spacing": [100, 50]}, "spacing"),
        ({"spacing": [100, 50, 9], "resamplings": 2, "jump": 1}, "resamplings"),
    ],
    ids=str,
)
def test_what_makes_a_chain_long_is_named(fields: dict[str, Any], name: str) -> None:
    assert chain(**fields).length_field == name


def test_an_interval_of_guidance_falls_within_T_and_needs_guidance() -> None:
    guided: dict[str, Any] = {"labels": 1, "guidance": 1.0}
    assert interval(**guided) is None
    assert interval(**guided, guidance_interval=[100, 0]) == (100, 0)
    falling = r"it must be \[t_high, t_low\], falling, within 0..100"
    for wrong in ([101, 5], [5, 10]):
        with pytest.raises(InvalidField, match=falling) as error:
            interval(**guided, guidance_interval=wrong)
        assert (error.value.name, error.value.value) == ("guidance_interval", wrong)
    with pytest.raises(InvalidField, match="it says where guidance applies, and guidance is 0"):
        interval(guidance_interval=[50, 10])


def test_frames_are_evenly_spaced_over_the_chain_ends_included() -> None:
    assert shown(frames=5) == (100, 75, 50, 25, 0)
    assert shown(frames=2, steps=10) == (100, 0)
    assert shown(steps=3) == (100, 67, 33, 0), "no more than the chain has"


def test_timesteps_that_are_asked_for_are_shown_where_the_chain_passes_nearest() -> None:
    assert shown(steps=10, timesteps=[52, 0, 48, 100]) == (100, 50, 0)
    for fields, name in (
        ({"timesteps": [101]}, "timesteps"),
        ({"timesteps": [1, 2, 3]}, "timesteps"),
        ({"timesteps": [1], "frames": 2}, "frames"),
        ({"frames": 3}, "frames"),
    ):
        with pytest.raises(InvalidField) as error:
            shown(Settings(max_frames=2), **fields)
        assert error.value.name == name
