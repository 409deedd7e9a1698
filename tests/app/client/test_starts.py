"""Where chains begin, as a client says it: the server reads it."""

import json
from typing import Any, cast

import numpy as np
import pytest

from app.client.results import Encoding
from app.client.starts import Start
from app.generation.schemas import requests

GREY = np.zeros((4, 4), np.uint8)
STATES = np.zeros((2, 1, 4, 4), np.float32)


def read(start: Start) -> dict[str, object]:
    """What the server reads, without what it was not given."""
    return requests.Start.model_validate(dict(start.fields)).model_dump(exclude_unset=True)


def test_each_kind_is_one_that_the_server_knows() -> None:
    assert read(Start.image(GREY, 300)).keys() == {"image", "t"}
    assert read(Start.image([GREY, GREY], resize=True)).keys() == {"image", "resize"}
    assert read(Start.images(GREY, GREY, 300)).keys() == {"images", "t", "weight"}
    assert read(Start.seeds(1, 2, [0, 1])) == {"seeds": [1, 2], "weight": [0.0, 1.0]}
    assert read(Start.x_t(STATES, 50)).keys() == {"x_t", "t"}


def test_weights_may_be_an_array_and_0() -> None:
    assert read(Start.seeds(1, 2, np.linspace(0, 1, 3)))["weight"] == [0.0, 0.5, 1.0]
    assert read(Start.seeds(1, 2, 0))["weight"] == 0.0


def test_an_encoding_brings_its_t() -> None:
    assert read(Start.x_t(Encoding(70, STATES)))["t"] == 70
    assert read(Start.x_t(Encoding(70, STATES), 60))["t"] == 60


def test_numbers_of_numpy_are_numbers() -> None:
    t: Any = np.int64(300)
    seeds: Any = np.arange(2)
    assert json.loads(json.dumps(dict(Start.image(GREY, t).fields)))["t"] == 300
    fields = Start.seeds(seeds[0], seeds[1], np.float64(0.5)).fields
    assert json.loads(json.dumps(dict(fields))) == {"seeds": [0, 1], "weight": 0.5}


def test_what_json_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^start.weight: nan is not allowed"):
        Start.seeds(1, 2, float("nan"))
    with pytest.raises(ValueError, match=r"^start.t: nan is not allowed"):
        Start.image(GREY, cast("int", float("nan")))
