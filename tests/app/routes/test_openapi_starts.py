"""What the document says of encodings."""

from app.generation.schemas.encode import EncodeRequest, EncodeResponse
from app.routes import openapi_starts


def test_the_examples_are_requests_and_answers() -> None:
    content = openapi_starts.ENCODE_BODY["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert EncodeRequest.model_validate(example["value"]).resize
    answer = openapi_starts.ENCODE_RESPONSES[200]["content"]["application/json"]["example"]
    assert EncodeResponse.model_validate(answer).model_dump() == answer
