"""The types of fields: a mistake in one that may be one thing or several is told once."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.generation.schemas.fields import Labels, Pictures, RequestBody, SpacingOrTimes, Weights


@pytest.mark.parametrize(
    ("kind", "value", "place", "message"),
    [
        (Labels, "7", (), "Input should be a label, or a list of labels"),
        (Labels, 1.5, (), "Input should be a label, or a list of labels"),
        (Labels, {}, (), "Input should be a label, or a list of labels"),
        (Labels, -1, ("one",), "Input should be greater than or equal to 0"),
        (Labels, True, ("one",), "Input should be a valid integer"),
        (Labels, [0, "1", "2"], ("several", 1), "Input should be a valid integer"),
        (Pictures, 1, (), "Input should be a picture in base64, or a list of them"),
        (Pictures, "", ("one",), "String should have at least 1 character"),
        (Pictures, [], ("several",), "List should have at least 1 item after validation, not 0"),
        (Pictures, ["x", 1], ("several", 1), "Input should be a valid string"),
        (Weights, "0.5", (), "Input should be a number from 0 to 1, or a list of them"),
        (Weights, 1.5, ("one",), "Input should be less than or equal to 1"),
        (Weights, [0, -1], ("several", 1), "Input should be greater than or equal to 0"),
        (SpacingOrTimes, 3, (), "Input should be the name of a spacing, or a list of t"),
        (
            SpacingOrTimes,
            "odd",
            ("one",),
            "Input should be 'even', 'quadratic', 'log_snr', 'karras' or 'tuned'",
        ),
        (SpacingOrTimes, [9, None], ("several", 1), "Input should be a valid integer"),
    ],
)
def test_one_mistake_is_one_error(
    kind: Any, value: Any, place: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    (error,) = caught.value.errors()
    assert (error["loc"], error["msg"]) == (place, message)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Labels, [0, [0, 1], []]),
        (Pictures, ["x", ["x"]]),
        (Weights, [0, 0.5, 1.0, [0, 1]]),
        (SpacingOrTimes, ["tuned", [9, 1]]),
    ],
)
def test_one_or_several_are_read_and_written_as_they_came(kind: Any, values: list[Any]) -> None:
    adapter = TypeAdapter[Any](kind)
    for value in values:
        read = adapter.validate_json(json.dumps(value), strict=True)
        assert read == value
        assert json.loads(adapter.dump_json(read)) == value


def test_a_request_has_no_other_fields_and_no_values_of_other_types() -> None:
    class Body(RequestBody):
        n: int = 1

    for wrong in ('{"n": "1"}', '{"n": 1, "m": 2}', '{"n": 1.5}'):
        with pytest.raises(ValidationError):
            Body.model_validate_json(wrong)
