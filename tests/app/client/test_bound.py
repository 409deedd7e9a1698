"""What a client sends to POST /bound, and what it makes of the answer."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client import Bound, BoundRequest, BrokenAnswer, SampleRequest
from app.client.bound import bound
from app.client.effects import Answer
from app.client.patience import Patience
from tests.app.client.script import PNG, Run

TEXT = base64.b64encode(PNG).decode()
TERM = {"t": 1, "bits_per_dim": 0.2, "weight": 1.0, "x_t": TEXT, "x0_hat": TEXT}
IMAGE = {
    "label": 3, "bits_per_dim": 0.9, "standard_error": 0.02, "L_T": 1e-4, "L_0": 0.2,
    "terms": [TERM],
}  # fmt: skip
BODY = {"id": "a", "model": "mnist", "seed": 7, "images": [IMAGE], "timing": {}}


def asked(body: Any, request: Any = None) -> Run:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = request or BoundRequest(images=PNG)
    return Run(bound(request, Patience(60)), [Answer(200, {}, content)])


def test_a_picture_is_sent_in_base64_with_what_is_given() -> None:
    picture = Image.fromarray(np.zeros((8, 8), np.uint8))
    request = BoundRequest(images=[picture, PNG], labels=range(3, 5), terms=10, seed=0)
    run = asked(BODY, request)
    (call,) = run.calls
    assert (call.method, call.path) == ("POST", "/bound")
    assert call.body is not None
    assert {name: value for name, value in call.body.items() if name != "images"} == {
        "labels": [3, 4], "terms": 10, "seed": 0, "resize": False,
    }  # fmt: skip
    assert base64.b64decode(call.body["images"][1]) == PNG


def test_the_answer_is_the_bound_of_each_picture_with_its_terms() -> None:
    (found,) = asked(BODY).emitted
    assert (found.model, found.seed) == ("mnist", 7)
    (image,) = found.images
    assert isinstance(image, Bound)
    assert (image.bits_per_dim, image.L_0, image.label) == (0.9, 0.2, 3)
    (term,) = image.terms
    assert (term.t, term.weight) == (1, 1.0) and isinstance(term.x_t, Image.Image)
    assert repr(image) == "Bound(bits_per_dim=0.9, 1 terms)"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {},
        {**BODY, "images": [{**IMAGE, "terms": [{**TERM, "x_t": "x"}]}]},
        {**BODY, "images": [{"label": 3}]},
    ],
)
def test_an_answer_that_is_none_is_said(body: Any) -> None:
    assert isinstance(asked(body).raised, BrokenAnswer)


def test_another_request_is_refused() -> None:
    with pytest.raises(ValueError, match="bound takes a BoundRequest"):
        asked(BODY, SampleRequest())
