"""From an encoding's fields to the engine's job."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from app.generation.encode import check_number, plan_encoding
from app.generation.errors import InvalidField
from app.generation.plan import Envelope, Plan
from app.generation.schemas.encode import EncodeRequest
from app.settings import Settings
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

IMAGES = [np.full((3, 8, 8), value, np.uint8) for value in (0, 255)]


def planned(model: ModelInfo = MODEL, **fields: Any) -> Plan:
    request = EncodeRequest.model_validate({"image": ["a", "b"], **fields})
    return plan_encoding(request, IMAGES, model, Settings(), Envelope("m#1", "me"))


def refusal(model: ModelInfo = MODEL, **fields: Any) -> tuple[str, Any]:
    with pytest.raises(InvalidField) as error:
        planned(model, **fields)
    return error.value.name, error.value.value


def test_pictures_go_up_along_the_steps_of_ddim() -> None:
    plan = planned(labels=1, steps=10)
    submit = plan.submit
    assert submit.is_encoding and submit.sampler == "ddim"
    assert submit.kept == tuple(range(9, 100, 10))
    assert (submit.steps, submit.shown, plan.shown_times) == (10, (10,), (100,))
    assert (submit.indices, submit.labels) == ((0, 1), (1, 1))
    assert submit.start is not None
    assert submit.start.pictures == tuple(image.tobytes() for image in IMAGES)


def test_pictures_may_stop_on_the_way_up() -> None:
    plan = planned(steps=10, t=55)
    assert (plan.submit.steps, plan.shown_times) == (5, (50,))
    assert plan.steps == 10


def test_what_the_model_does_not_have_is_refused_by_name() -> None:
    assert refusal(steps=101) == ("steps", 101)
    assert refusal(t=101) == ("t", 101)
    assert refusal(steps=10, t=9) == ("t", 9)
    assert refusal(labels=2) == ("labels", 2)
    assert refusal(labels=[0]) == ("labels", [0])
    zero_snr = dataclasses.replace(MODEL, alpha_bar=(*MODEL.alpha_bar[:-1], 0.0))
    assert refusal(zero_snr) == ("t", None)
    assert planned(zero_snr, t=99).shown_times[0] < 100


def test_no_more_pictures_are_taken_than_images_are_made_for_a_request() -> None:
    many = EncodeRequest(image=["a"] * 257)
    with pytest.raises(InvalidField, match="image: this server takes 1..256 pictures"):
        check_number(many, Settings())
    check_number(EncodeRequest(image="a"), Settings())
