"""What POST /encode is asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.generation.schemas.encode import EncodeRequest


def test_a_picture_is_enough() -> None:
    found = EncodeRequest.model_validate_json('{"image": "x"}')
    assert (found.steps, found.t, found.labels) == (50, None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"image": []},
        {"image": ""},
        {"image": "x", "steps": 0},
        {"image": "x", "t": 0},
        {"image": "x", "seed": 1},
        {"image": "x", "labels": -1},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EncodeRequest.model_validate(fields)
