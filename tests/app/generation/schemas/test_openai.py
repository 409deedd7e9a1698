"""What OpenAI's clients may send."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.generation.schemas.openai import ImagesRequest


def test_null_is_as_if_it_were_left_out() -> None:
    fields = dict.fromkeys(ImagesRequest.model_fields)
    assert ImagesRequest.model_validate(fields) == ImagesRequest()


def test_what_clients_send_as_the_default_is_taken() -> None:
    fields: dict[str, Any] = {
        "output_format": "png", "quality": "standard", "background": "opaque",
        "moderation": "low", "stream": False, "user": "somebody", "safety_identifier": "x",
        "response_format": "b64_json",
    }  # fmt: skip
    assert ImagesRequest.model_validate(fields).n == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"response_format": "url"}, "this server keeps no pictures at URLs: ask for b64_json"),
        ({"response_format": 1}, "Input should be 'b64_json'"),
        ({"quality": "hd"}, "Input should be 'auto' or 'standard'"),
        ({"output_format": "webp"}, "Input should be 'png'"),
        ({"stream": True}, "Input should be False"),
        ({"prompt": 7}, "Input should be a valid string"),
        ({"style": "vivid"}, "Extra inputs are not permitted"),
        ({"style": None}, "Extra inputs are not permitted"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ImagesRequest.model_validate(fields)
    assert caught.value.errors()[0]["msg"] == reason
