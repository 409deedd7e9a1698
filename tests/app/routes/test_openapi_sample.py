"""The examples of the document are requests and answers that its schemas allow."""

from typing import Any

from app.generation.schemas.answers import SampleResponse, TrajectoryResponse
from app.generation.schemas.requests import SampleRequest, TrajectoryRequest
from app.routes.openapi import Responses
from app.routes.openapi_sample import (
    SAMPLE_BODY,
    SAMPLE_RESPONSES,
    TRAJECTORY_BODY,
    TRAJECTORY_RESPONSES,
)


def requests(body: dict[str, Any]) -> list[dict[str, Any]]:
    examples = body["requestBody"]["content"]["application/json"]["examples"]
    return [named["value"] for named in examples.values()]


def answer(responses: Responses) -> object:
    return responses[200]["content"]["application/json"]["example"]


def test_the_examples_are_what_the_schemas_allow() -> None:
    for value in requests(SAMPLE_BODY):
        assert SampleRequest.model_validate(value).model_fields_set == value.keys()
    for value in requests(TRAJECTORY_BODY):
        assert TrajectoryRequest.model_validate(value).model_fields_set == value.keys()
    assert SampleResponse.model_validate(answer(SAMPLE_RESPONSES)).samples[0].label == 7
    assert TrajectoryResponse.model_validate(answer(TRAJECTORY_RESPONSES)).trajectories[0].frames
