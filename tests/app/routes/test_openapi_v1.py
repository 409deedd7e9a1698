"""The examples of the document are answers that its schemas allow."""

from app.generation.schemas.openai import ApiModel, ApiModelList, ImagesRequest, ImagesResponse
from app.routes import openapi_v1
from app.routes.openapi import Responses


def test_the_examples_are_what_the_schemas_allow() -> None:
    def example(responses: Responses) -> object:
        return responses[200]["content"]["application/json"]["example"]

    assert ImagesResponse.model_validate(example(openapi_v1.IMAGES)).size == "28x28"
    assert len(ApiModelList.model_validate(example(openapi_v1.MODELS)).data) == 1
    assert ApiModel.model_validate(example(openapi_v1.MODEL)).id == "mnist"
    content = openapi_v1.IMAGES_BODY["requestBody"]["content"]["application/json"]
    for named in content["examples"].values():
        assert ImagesRequest.model_validate(named["value"])


def test_what_passes_says_when_to_come_back() -> None:
    for status in (429, 503):
        assert "Retry-After" in openapi_v1.IMAGES[status]["headers"]
