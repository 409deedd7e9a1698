"""What a client sends, beside what the server takes."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from app.client.requests import EncodeRequest, SampleRequest, TrajectoryRequest
from app.client.starts import Start
from app.generation.schemas import encode, requests

PICTURE, TEXT = b"a picture", "YSBwaWN0dXJl"


def test_what_is_not_given_is_left_to_the_server() -> None:
    assert SampleRequest().body() == {
        "n": 1, "first_index": 0, "sampler": "ddpm", "guidance": 0.0,
    }  # fmt: skip
    assert "frames" not in TrajectoryRequest().body()


def test_zero_is_given_and_none_is_not() -> None:
    body = SampleRequest(seed=0, labels=0, eta=0.0).body()
    assert (body["seed"], body["labels"], body["eta"]) == (0, 0, 0.0)


class Tensor:
    """What PyTorch's have in common with NumPy's arrays."""

    def tolist(self) -> list[int]:
        return [8, 9]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.int64(3), 3),
        (range(3), [0, 1, 2]),
        ((4, 5), [4, 5]),
        ([np.int64(6), 7], [6, 7]),
        (Tensor(), [8, 9]),
        ([1.5], [1.5]),  # wrong: it is the server that says so
        ("89", "89"),
    ],
    ids=["array", "scalar", "range", "tuple", "list of scalars", "tensor", "fractions", "text"],
)
def test_the_body_is_plain_json(labels: Any, expected: Any) -> None:
    body = SampleRequest(n=2, labels=labels).body()
    assert json.loads(json.dumps(body))["labels"] == expected


@pytest.mark.parametrize("labels", [{1, 2}, (k for k in (1, 2)), [object()]])
def test_what_json_cannot_carry_is_refused_by_name(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"^labels: .* is not allowed: it must be a number"):
        SampleRequest(labels=labels).body()


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("inf"), np.array([1, math.nan])])
@pytest.mark.parametrize("name", ["n", "eta", "labels"])
def test_numbers_that_are_not_finite_are_refused_by_name(name: str, value: Any) -> None:
    request: Any = SampleRequest(**{name: value})
    with pytest.raises(ValueError, match=f"^{name}: .* is not allowed: it must be a finite number"):
        request.body()


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (SampleRequest, requests.SampleRequest),
        (TrajectoryRequest, requests.TrajectoryRequest),
    ],
    ids=["sample", "trajectory"],
)
def test_a_client_can_ask_for_all_that_the_server_takes(
    mine: type[SampleRequest], theirs: type[requests.SampleRequest]
) -> None:
    assert list(mine.__dataclass_fields__) == list(theirs.model_fields)
    default = theirs.model_validate_json(json.dumps(mine().body()))
    assert default == theirs()


def test_the_server_reads_every_field_as_it_was_given() -> None:
    timesteps: Sequence[int] = range(0, 100, 50)
    request = TrajectoryRequest(
        n=2, seed=1, first_index=3, model="tiny", sampler="ddim", steps=7, spacing="karras",
        eta=0.5, labels=(0, 1), guidance=2.0, guidance_interval=(90, 10), timesteps=timesteps,
        start=Start.image(PICTURE, 30, resize=True), mask=PICTURE, resamplings=3, jump=2,
    )  # fmt: skip
    read = requests.TrajectoryRequest.model_validate_json(json.dumps(request.body()))
    expected = {
        "n": 2, "seed": 1, "first_index": 3, "model": "tiny", "sampler": "ddim", "steps": 7,
        "spacing": "karras", "eta": 0.5, "variance": None, "labels": [0, 1], "guidance": 2.0,
        "guidance_interval": [90, 10], "frames": 11, "timesteps": [0, 50],
        "start": {
            "image": TEXT, "images": None, "seeds": None, "x_t": None, "t": 30, "weight": None,
            "resize": True,
        },
        "mask": TEXT, "resamplings": 3, "jump": 2,
    }  # fmt: skip
    assert read.model_dump() == expected


def test_the_server_reads_an_encodings_fields() -> None:
    request = EncodeRequest(image=[PICTURE, PICTURE], labels=(0, 1), steps=7, t=5, model="tiny")
    read = encode.EncodeRequest.model_validate_json(json.dumps(request.body()))
    assert read.model_dump() == {
        "image": [TEXT, TEXT], "labels": [0, 1], "steps": 7, "t": 5, "resize": False,
        "model": "tiny",
    }  # fmt: skip


def test_a_start_that_no_class_method_made_is_refused() -> None:
    start: Any = {"image": TEXT}
    request = SampleRequest(start=start)
    with pytest.raises(ValueError, match="^start: .* it must be made by Start.image"):
        request.body()
