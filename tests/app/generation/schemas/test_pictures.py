"""What requests that are made of pictures have in common."""

import pytest

from app.generation.schemas.bound import BoundRequest
from app.generation.schemas.encode import EncodeRequest
from app.generation.schemas.pictures import PicturesRequest


def test_unless_told_otherwise_the_first_model_takes_pictures_of_its_size_without_labels() -> None:
    found = PicturesRequest.model_validate_json("{}")
    assert (found.labels, found.resize, found.model) == (None, False, None)


@pytest.mark.parametrize("kind", [EncodeRequest, BoundRequest])
def test_each_such_request_has_its_fields_with_the_same_words(kind: type[PicturesRequest]) -> None:
    for name, field in PicturesRequest.model_fields.items():
        assert kind.model_fields[name].description == field.description
