"""What the server tells of its models."""

import pytest
from pydantic import ValidationError

from app.generation.schemas.models import Limits, LoadRequest
from app.settings import Settings


def test_the_limits_are_settings_of_the_same_names() -> None:
    settings = Settings()
    names = list(Limits.model_fields)
    values = {name: getattr(settings, name) for name in names}
    assert Limits.model_validate(values).model_dump() == values


def test_a_model_is_loaded_from_what_it_was_loaded_from_unless_a_request_says_otherwise() -> None:
    assert LoadRequest.model_validate_json("{}").checkpoint is None
    assert LoadRequest.model_validate_json('{"checkpoint": "cifar10"}').checkpoint == "cifar10"


@pytest.mark.parametrize("body", ['{"checkpoint": ""}', '{"checkpoint": 1}', '{"name": "x"}'])
def test_other_loads_are_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        LoadRequest.model_validate_json(body)
