"""What a request's body may hold, whatever the model."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.generation.schemas.requests import SampleRequest, TrajectoryRequest

MAX_INTEGER = 9_007_199_254_740_991
"""Number.MAX_SAFE_INTEGER of JavaScript."""


def wrong(body: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    """Where the body of a trajectory's request is wrong, and the kind of each error."""
    with pytest.raises(ValidationError) as caught:
        TrajectoryRequest.model_validate_json(json.dumps(body))
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


def test_an_empty_object_asks_for_one_image() -> None:
    assert SampleRequest.model_validate_json("{}").model_dump() == {
        "n": 1, "seed": None, "first_index": 0, "model": None, "sampler": "ddpm", "steps": None,
        "spacing": "even", "eta": 0.0, "variance": None, "labels": None, "guidance": 0.0,
        "guidance_interval": None, "start": None, "mask": None, "resamplings": 1, "jump": 10,
    }  # fmt: skip
    assert TrajectoryRequest().frames == 11


@pytest.mark.parametrize(
    "body",
    [
        {"n": 1, "seed": 0, "first_index": 0, "steps": 1, "eta": 0, "guidance": 0, "frames": 2},
        {"seed": MAX_INTEGER, "first_index": MAX_INTEGER, "eta": 1, "guidance": 20},
        {"labels": 0, "timesteps": [0]},
        {"labels": [0, 0], "seed": None, "variance": None},
    ],
    ids=["the least", "the most", "one label", "labels"],
)
def test_the_ends_of_each_range_are_allowed(body: dict[str, Any]) -> None:
    read = TrajectoryRequest.model_validate_json(json.dumps(body)).model_dump()
    assert {name: read[name] for name in body} == body


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("n", 0, "greater_than_equal"),
        ("seed", -1, "greater_than_equal"),
        ("seed", MAX_INTEGER + 1, "less_than_equal"),
        ("first_index", -1, "greater_than_equal"),
        ("first_index", MAX_INTEGER + 1, "less_than_equal"),
        ("sampler", "DDPM", "literal_error"),
        ("steps", 0, "greater_than_equal"),
        ("eta", 1.01, "less_than_equal"),
        ("eta", -0.01, "greater_than_equal"),
        ("variance", "learned_range", "literal_error"),
        ("guidance", 20.5, "less_than_equal"),
        ("guidance", -1, "greater_than_equal"),
        ("guidance_interval", [100], "too_short"),
        ("guidance_interval", [100, 50, 10], "too_long"),
        ("frames", 1, "greater_than_equal"),
        ("timesteps", [], "too_short"),
    ],
)
def test_a_value_outside_its_range_is_refused(field: str, value: Any, kind: str) -> None:
    assert wrong({field: value}) == [((field,), kind)]


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
@pytest.mark.parametrize("field", ["eta", "guidance"])
def test_a_strength_is_finite(field: str, number: str) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        SampleRequest.model_validate_json(f'{{"{field}": {number}}}')


@pytest.mark.parametrize(
    ("field", "value"), [("n", "1"), ("n", 1.5), ("n", True), ("eta", "0"), ("sampler", None)]
)
def test_no_value_is_turned_into_another_type(field: str, value: Any) -> None:
    assert [where for where, _ in wrong({field: value})] == [(field,)]


def test_an_unknown_field_is_refused_by_its_name() -> None:
    assert wrong({"step": 10}) == [(("step",), "extra_forbidden")]
    with pytest.raises(ValidationError, match="frames"):
        SampleRequest.model_validate_json('{"frames": 3}')


def test_of_many_wrong_labels_the_first_is_told() -> None:
    assert wrong({"labels": [0, -1, -2, -3]}) == [
        (("labels", "several", 1), "greater_than_equal"),
    ]


def test_a_request_does_not_change_after_it_is_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SampleRequest().n = 2  # type: ignore[misc]
