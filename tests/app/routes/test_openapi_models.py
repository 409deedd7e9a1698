"""What the document says of the models is what the server answers."""

from app.generation.schemas.models import ModelEntry
from app.routes import openapi_models


def test_the_example_of_a_model_is_one() -> None:
    example = ModelEntry.model_validate(openapi_models.STATUS)
    assert example.model_dump(mode="json") == openapi_models.STATUS


def test_who_may_not_change_models_and_who_asks_for_none_is_told() -> None:
    assert {401, 403, 422} <= openapi_models.LOAD.keys()
    assert {401, 403, 404} <= openapi_models.UNLOAD.keys()
    assert 404 in openapi_models.ENTRY and 404 not in openapi_models.LIST
