"""What POST /bound is asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.generation.schemas.bound import BoundRequest


def test_a_picture_is_enough() -> None:
    assert BoundRequest.model_validate({"images": "x"}).terms is None
    assert BoundRequest.model_validate({"images": ["x", "y"], "timesteps": [1]}).seed is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"images": []},
        {"images": ""},
        {"images": "x", "terms": 1},
        {"images": "x", "timesteps": []},
        {"images": "x", "timesteps": [-1]},
        {"images": "x", "variance": "learned_range"},
        {"images": "x", "n": 1},
        {"images": "x", "seed": -1},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BoundRequest.model_validate(fields)
