"""The examples of the document are requests and answers that the schemas allow."""

from app.generation.schemas.bound import BoundRequest, BoundResponse
from app.routes.openapi_bound import BODY, RESPONSES


def test_the_examples_are_what_the_schemas_allow() -> None:
    for named in BODY["requestBody"]["content"]["application/json"]["examples"].values():
        assert BoundRequest.model_validate(named["value"]).images
    example = RESPONSES[200]["content"]["application/json"]["example"]
    assert BoundResponse.model_validate(example).images[0].label == 7
