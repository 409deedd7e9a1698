"""The answers as JSON: an answer without one of its fields is none."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.generation.schemas.answers import Header, SampleResponse, TrajectoryResponse

HEADER = {"id": "a", "model": "m", "seed": 1, "sampler": "ddim", "steps": 2}
TIMING = {"queued_s": 0.1, "compute_s": 0.2}
SAMPLE = {"index": 0, "label": None, "png": "x", "sha256": "y"}
FRAME = {"t": 1, "x_t": "x", "x0_hat": "y"}
TRAJECTORY = {"index": 0, "label": 3, "frames": [FRAME]}
ANSWERS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (SampleResponse, {**HEADER, "samples": [SAMPLE], "timing": TIMING}),
    (TrajectoryResponse, {**HEADER, "trajectories": [TRAJECTORY], "timing": TIMING}),
]


@pytest.mark.parametrize(("kind", "answer"), ANSWERS)
def test_every_field_of_an_answer_is_there(kind: type[BaseModel], answer: dict[str, Any]) -> None:
    assert kind.model_validate(answer).model_dump() == answer
    for name in answer:
        with pytest.raises(ValidationError, match=f"{name}\n.*Field required"):
            kind.model_validate({k: v for k, v in answer.items() if k != name})


@pytest.mark.parametrize("kind", [kind for kind, _ in ANSWERS])
def test_it_begins_with_what_was_used(kind: type[BaseModel]) -> None:
    names = list(Header.model_fields)
    assert list(kind.model_fields)[: len(names)] == names
