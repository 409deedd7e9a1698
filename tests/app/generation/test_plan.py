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


def refusal(model: ModelInfo = MODEL, **fields: Any) -> tuple[str, Any]:
    with pytest.raises(InvalidField) as error:
        planned(model, **fields)
    return error.value.name, error.value.value


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


def test_what_does_not_fit_the_checkpoint_is_refused_by_name() -> None:
    assert refusal(steps=101) == ("steps", 101)
    assert refusal(n=2, labels=[0]) == ("labels", [0])
    assert refusal(NO_DROPOUT, labels=1, guidance=1.0) == ("guidance", 1.0)
    assert refusal(guidance_interval=[50, 10]) == ("guidance_interval", [50, 10])


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


def test_guidance_applies_and_costs_within_its_interval_alone() -> None:
    guided: dict[str, Any] = {"labels": 1, "guidance": 1.0, "sampler": "ddim", "steps": 10}
    whole = planned(**guided).submit
    assert (whole.guided, whole.cost) == (None, 20)
    some = planned(**guided, guidance_interval=[80, 30]).submit  # t = 80, 70, … 30
    assert (some.guided, some.cost) == ((2, 8), 10 + 6)
    none = planned(**guided, guidance_interval=[9, 0]).submit
    assert none.cost == 10


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
