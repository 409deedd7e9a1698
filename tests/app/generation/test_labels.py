"""The labels of a request's images, and what the network is told of them."""

import dataclasses
from typing import Any

import pytest

from app.generation.errors import InvalidField
from app.generation.labels import ImageLabels, labels_of
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

UNCONDITIONAL = dataclasses.replace(MODEL, classes=(), null_label=None)
NO_DROPOUT = dataclasses.replace(MODEL, null_label=None)


def refusal(
    model: ModelInfo, labels: int | list[int] | None, n: int = 1, guidance: float = 0.0
) -> tuple[str, Any, str]:
    with pytest.raises(InvalidField) as error:
        labels_of(model, labels, n, guidance)
    return error.value.name, error.value.value, error.value.reason


def test_labels_and_guidance_must_fit_the_checkpoint() -> None:
    assert refusal(UNCONDITIONAL, 0) == ("labels", 0, "this model is unconditional")
    assert refusal(NO_DROPOUT, None) == ("labels", None, "this model needs labels, 0..1")
    assert refusal(NO_DROPOUT, 1, guidance=1.0)[:2] == ("guidance", 1.0)


def test_of_a_list_the_one_label_that_is_wrong_is_named() -> None:
    assert refusal(MODEL, [0, 2], n=2) == ("labels", 2, "this model has labels 0..1")
    reason = "2 labels for n = 3 images; give one, or n of them"
    assert refusal(MODEL, [0, 1], n=3) == ("labels", [0, 1], reason)


def test_the_network_is_told_the_null_label_where_none_is_asked_for() -> None:
    assert labels_of(MODEL, None, 2) == ((None, None), (2, 2))
    assert labels_of(MODEL, 1, 2) == ((1, 1), (1, 1))
    assert labels_of(MODEL, [1, 0], 2, guidance=1.0) == ((1, 0), (1, 0))
    assert labels_of(NO_DROPOUT, 0, 1) == ((0,), (0,))
    assert labels_of(UNCONDITIONAL, None, 2) == ((None, None), None)


def test_an_image_that_is_there_several_times_has_its_label_each_time() -> None:
    assert labels_of(MODEL, [1, 0], 2).each(2) == ImageLabels((1, 1, 0, 0), (1, 1, 0, 0))
    assert labels_of(MODEL, None, 1).each(2) == ImageLabels((None, None), (2, 2))
    assert labels_of(UNCONDITIONAL, None, 1).each(3) == ImageLabels((None,) * 3, None)
