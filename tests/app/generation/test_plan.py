"""From a request to the engine's job, without any server."""

import dataclasses
from typing import Any

import pytest

from app.generation.errors import AnswerTooLarge, InvalidField
from app.generation.plan import Envelope, Plan, plan
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.settings import Settings
from app.wire.model_info import ModelInfo
from diffusion.spacing import Spacing
from tests.model_info import MODEL

UNCONDITIONAL = dataclasses.replace(MODEL, classes=(), null_label=None)
NO_DROPOUT = dataclasses.replace(MODEL, null_label=None)


def planned(model: ModelInfo = MODEL, **fields: Any) -> Plan:
    return plan(SampleRequest.model_validate(fields), model, Settings())


def trajectory(**fields: Any) -> Plan:
    return plan(TrajectoryRequest.model_validate(fields), MODEL, Settings())


def refusal(model: ModelInfo = MODEL, **fields: Any) -> tuple[str, Any, str]:
    with pytest.raises(InvalidField) as error:
        planned(model, **fields)
    return error.value.name, error.value.value, error.value.reason


def test_defaults_follow_the_sampler_and_the_checkpoint() -> None:
    assert planned().submit.steps == 100
    assert planned(sampler="ddim").submit.steps == 50
    assert planned(sampler="dpmpp").submit.steps == 20
    assert planned().submit.variance == "fixed_large"
    assert planned(steps=50).submit.variance == "fixed_small", "a short chain needs fixed_small"
    assert planned(steps=50, variance="fixed_large").submit.variance == "fixed_large"


def test_a_null_seed_is_drawn_anew_each_time() -> None:
    assert planned().submit.seed != planned().submit.seed
    assert planned(seed=0).submit.seed == 0


def test_the_job_is_counted_for_its_client_and_logged_under_its_request() -> None:
    submit = plan(SampleRequest(), MODEL, Settings(), Envelope("m#2", "key 1", "abc")).submit
    assert submit.model == "m#2"
    assert (submit.client, submit.request_id) == ("key 1", "abc")


def test_no_label_is_the_null_label_for_the_network_and_none_for_the_client() -> None:
    made = planned(n=2)
    assert made.submit.labels == (2, 2)
    assert made.labels == (None, None)
    assert planned(n=2, labels=1).submit.labels == (1, 1)
    assert planned(n=2, labels=[0, 1]).labels == (0, 1)
    assert planned(UNCONDITIONAL).submit.labels is None


def test_labels_and_guidance_must_fit_the_checkpoint() -> None:
    assert refusal(UNCONDITIONAL, labels=0) == ("labels", 0, "this model is unconditional")
    assert refusal(NO_DROPOUT) == ("labels", None, "this model needs labels, 0..1")
    assert refusal(NO_DROPOUT, labels=1, guidance=1)[:2] == ("guidance", 1.0)


def test_the_request_with_its_defaults_filled_in_plans_the_same_job() -> None:
    for fields in (
        {"seed": 1, "n": 3, "labels": [0, 1, 0], "guidance": 2.0, "sampler": "dpmpp"},
        {"seed": 2, "first_index": 5, "sampler": "ddim", "eta": 0.3},
        {"seed": 3},
        {"seed": 3, "sampler": "unipc", "steps": 6, "spacing": "karras"},
        {"seed": 4, "sampler": "ddim", "spacing": [100, 50, 20, 3]},
        {"seed": 5, "steps": 9, "labels": 1, "guidance": 1.0, "guidance_interval": [90, 20]},
    ):
        for model in (MODEL, dataclasses.replace(MODEL, variance="learned_range")):
            first = planned(model, **fields)
            again = planned(model, **first.request)
            assert {**vars(again.submit), "id": ""} == {**vars(first.submit), "id": ""}


def test_a_request_says_which_timesteps_are_kept() -> None:
    alpha_bar = MODEL.alpha_bar[1:]
    for name in ("quadratic", "log_snr", "karras"):
        submit = planned(steps=8, spacing=name).submit
        assert submit.kept == Spacing.by_name(name, 8, alpha_bar).kept
        assert submit.steps == 8
    assert planned(steps=8).submit.kept is None, "as an engine, or a stored plan, of before has it"
    listed = planned(spacing=[100, 70, 5])
    assert (listed.submit.kept, listed.submit.steps) == ((4, 69, 99), 3)
    assert trajectory(spacing=[100, 70, 5]).shown_times == (100, 70, 5, 0)


@pytest.mark.parametrize("sampler", ["unipc", "ipndm"])
def test_a_chain_that_begins_at_alpha_bar_0_needs_a_sampler_that_can(sampler: str) -> None:
    alpha_bar = (*MODEL.alpha_bar[:-1], 0.0)
    zero = dataclasses.replace(MODEL, alpha_bar=alpha_bar, alpha_bar_T=0.0)
    field, value, reason = refusal(zero, sampler=sampler)
    assert (field, value) == ("sampler", sampler)
    assert "zero terminal SNR" in reason and reason.endswith("use one of ddpm, ddim, dpmpp")
    for spacing in ("even", "quadratic", "log_snr", "karras"):
        assert planned(zero, sampler="dpmpp", steps=8, spacing=spacing).submit.steps == 8


def test_a_network_that_cannot_be_told_t_1_needs_a_chain_that_ends_above_it() -> None:
    model = dataclasses.replace(MODEL, min_timestep=1)
    field, value, reason = refusal(model, steps=100)
    assert (field, value) == ("spacing", "even") and "cannot be told t = 1" in reason
    assert planned(model, steps=50).submit.steps == 50


def test_a_tuned_spacing_is_the_cards_list_and_stays_it() -> None:
    first = planned(sampler="unipc", steps=4, spacing="tuned", seed=1)
    assert (first.submit.kept, first.submit.steps) == ((4, 29, 69, 99), 4)
    assert first.request["spacing"] == [100, 70, 30, 5], "which another card does not change"
    reason = "no list of 5 steps of unipc is tuned; there are: unipc in 4"
    assert refusal(sampler="unipc", steps=5, spacing="tuned") == ("spacing", "tuned", reason)
    untuned = dataclasses.replace(MODEL, tuned={})
    reason = "this checkpoint has no tuned lists; `ddpm tune` makes them"
    assert refusal(untuned, spacing="tuned") == ("spacing", "tuned", reason)


def test_a_list_of_timesteps_stands_instead_of_steps_and_falls_from_T() -> None:
    for spacing, reason in (
        ([99, 50], "the list begins with 99; it must begin with T = 100, where x_T is noise"),
        ([], "the list is empty; it must begin with T = 100, where x_T is noise"),
        ([100, 50, 50], "50 comes after 50; t must fall, and be 1..100"),
        ([100, 0], "0 comes after 100; t must fall, and be 1..100"),
    ):
        assert refusal(spacing=spacing) == ("spacing", spacing, reason)
    reason = "spacing is a list of the timesteps, so leave steps out"
    assert refusal(spacing=[100, 50], steps=2) == ("steps", 2, reason)


def test_guidance_applies_and_costs_within_its_interval_alone() -> None:
    guided: dict[str, Any] = {"labels": 1, "guidance": 1.0, "sampler": "ddim", "steps": 10}
    whole = planned(**guided).submit
    assert (whole.guided, whole.cost) == (None, 20)
    some = planned(**guided, guidance_interval=[80, 30]).submit  # t = 80, 70, … 30
    assert (some.guided, some.cost) == ((2, 8), 10 + 6)
    none = planned(**guided, guidance_interval=[9, 0]).submit
    assert none.cost == 10


def test_an_interval_of_guidance_falls_within_T_and_needs_guidance() -> None:
    guided: dict[str, Any] = {"labels": 1, "guidance": 1.0}
    falling = "it must be [t_high, t_low], falling, within 0..100"
    for interval in ([101, 5], [5, 10]):
        assert refusal(**guided, guidance_interval=interval) == (
            "guidance_interval", interval, falling
        )  # fmt: skip
    needed = "it says where guidance applies, and guidance is 0"
    assert refusal(guidance_interval=[50, 10]) == ("guidance_interval", [50, 10], needed)


def test_frames_are_evenly_spaced_over_the_chain_ends_included() -> None:
    assert trajectory(frames=5).shown_times == (100, 75, 50, 25, 0)
    assert trajectory(frames=2, steps=10).shown_times == (100, 0)
    assert trajectory(steps=3).shown_times == (100, 67, 33, 0), "no more than the chain has"


def test_an_answer_that_would_be_too_large_is_refused_with_its_size() -> None:
    settings = Settings(max_response_bytes=100_000)
    request = TrajectoryRequest.model_validate({"n": 10, "frames": 10})
    with pytest.raises(AnswerTooLarge) as error:
        plan(request, MODEL, settings)
    size = 10 * 10 * 2 * 3 * 8 * 8 * 4
    assert str(error.value) == (
        f"the answer would take {size} bytes (200 float32 pictures of 3x8x8); this server's limit "
        "is 100000: ask for fewer images or frames"
    )
    plan(request, MODEL, settings, as_stream=True)  # is never whole in memory


def test_one_sample_of_a_job_must_fit_into_a_part_of_the_memory_of_all_answers() -> None:
    frame = 2 * 3 * 8 * 8 * 4
    settings = Settings(answers_budget_bytes=4 * 10 * frame)
    plan(TrajectoryRequest(n=1000, frames=10), MODEL, settings, as_job=True)
    with pytest.raises(AnswerTooLarge) as error:
        plan(TrajectoryRequest(frames=11), MODEL, settings, as_job=True)
    assert str(error.value) == (
        f"one sample of the job would take {11 * frame} bytes (22 float32 pictures of 3x8x8); this "
        f"server's limit is {10 * frame}: ask for fewer frames"
    )
