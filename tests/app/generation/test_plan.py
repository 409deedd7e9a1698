"""From a request to the engine's job, without any server."""

from typing import Any

import pytest

from app.generation.plan import Plan, plan
from app.generation.schemas import SampleRequest, TrajectoryRequest
from app.http.problems import Problem
from app.settings import Settings

MODEL: dict[str, Any] = {
    "name": "m",
    "sha256": "0",
    "image_shape": [3, 8, 8],
    "num_timesteps": 100,
    "variance": "fixed_large",
    "classes": ["cat", "dog"],
    "null_label": 2,
}
UNCONDITIONAL = {**MODEL, "classes": [], "null_label": None}
NO_DROPOUT = {**MODEL, "null_label": None}


def planned(model: dict[str, Any] = MODEL, **fields: Any) -> Plan:
    return plan(SampleRequest.model_validate(fields), model, Settings())


def trajectory(**fields: Any) -> Plan:
    return plan(TrajectoryRequest.model_validate(fields), MODEL, Settings())


def refusal(model: dict[str, Any] = MODEL, **fields: Any) -> str:
    with pytest.raises(Problem) as error:
        planned(model, **fields)
    assert error.value.status == 422
    return error.value.detail


def test_defaults_follow_the_sampler_and_the_checkpoint() -> None:
    assert planned().submit.steps == 100
    assert planned(sampler="ddim").submit.steps == 50
    assert planned(sampler="dpmpp").submit.steps == 20
    assert planned().submit.variance == "fixed_large"
    assert planned(steps=50).submit.variance == "fixed_small", "a short chain needs fixed_small"
    assert planned(steps=50, variance="fixed_large").submit.variance == "fixed_large"


def test_a_null_seed_is_drawn_anew_each_time() -> None:
    assert planned().submit.seed != planned().submit.seed


def test_no_label_is_the_null_label_for_the_network_and_none_for_the_client() -> None:
    made = planned(n=2)
    assert made.submit.labels == (2, 2)
    assert made.labels == (None, None)
    assert planned(n=2, labels=1).submit.labels == (1, 1)
    assert planned(n=2, labels=[0, 1]).labels == (0, 1)
    assert planned(UNCONDITIONAL).submit.labels is None


def test_labels_and_guidance_must_fit_the_checkpoint() -> None:
    assert (
        refusal(UNCONDITIONAL, labels=0) == "labels: 0 is not allowed: this model is unconditional"
    )
    assert refusal(NO_DROPOUT) == "labels: null is not allowed: this model needs labels, 0..1"
    assert refusal(NO_DROPOUT, labels=1, guidance=1).startswith("guidance: 1.0 is not allowed")


def test_the_request_with_its_defaults_filled_in_plans_the_same_job() -> None:
    for fields in (
        {"seed": 1, "n": 3, "labels": [0, 1, 0], "guidance": 2.0, "sampler": "dpmpp"},
        {"seed": 2, "first_index": 5, "sampler": "ddim", "eta": 0.3},
        {"seed": 3},
    ):
        for model in (MODEL, {**MODEL, "variance": "learned_range"}):
            first = planned(model, **fields)
            again = planned(model, **first.request)
            assert {**vars(again.submit), "id": ""} == {**vars(first.submit), "id": ""}


def test_frames_are_evenly_spaced_over_the_chain_ends_included() -> None:
    assert trajectory(frames=5).shown_times == (100, 75, 50, 25, 0)
    assert trajectory(frames=2, steps=10).shown_times == (100, 0)
    assert trajectory(steps=3).shown_times == (100, 67, 33, 0), "no more than the chain has"


def test_an_answer_that_would_be_too_large_is_refused_with_its_size() -> None:
    settings = Settings(max_response_bytes=100_000)
    request = TrajectoryRequest.model_validate({"n": 10, "frames": 10})
    with pytest.raises(Problem) as error:
        plan(request, MODEL, settings)
    size = 10 * 10 * 2 * 3 * 8 * 8 * 4
    assert error.value.detail == (
        f"the answer would take {size} bytes (200 float32 pictures of 3x8x8); this server's limit "
        "is 100000: ask for fewer images or frames"
    )
