"""What the document says of encodings."""

from app.generation.schemas import EncodeRequest, EncodeResponse
from app.routes import openapi_starts


def test_the_examples_are_requests_and_answers() -> None:
    content = openapi_starts.ENCODE_BODY["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        EncodeRequest.model_validate(example["value"])
    answer = openapi_starts.ENCODE_RESPONSES[200]["content"]["application/json"]["example"]
    EncodeResponse.model_validate(answer)
