"""Plans as the database keeps them."""

import dataclasses
import json
from typing import Any

import pytest

from app.jobs.plans import read_plan, write_plan
from app.wire.starts import Start
from tests.app.jobs.fakes import make_plan


def test_a_plan_in_a_database_is_read_again() -> None:
    """As it was written by the first version: databases keep plans over updates."""
    made = make_plan(n=1, shown=(0, 4))
    plan = dataclasses.replace(made, submit=dataclasses.replace(made.submit, model=""))
    stored: dict[str, Any] = {
        "submit": {
            "id": "1" * 32, "seed": 7, "indices": [3], "labels": None, "sampler": "ddim",
            "steps": 4, "eta": 0.0, "variance": "fixed_small", "guidance": 0.0, "shown": [0, 4],
            "client": "me", "is_alone": False, "waited": 0.0, "request_id": "",
        },
        "model": "fake", "sha256": "0" * 64, "image_shape": [1, 4, 4], "labels": [None],
        "shown_times": [4, 0],
    }  # fmt: skip
    submit = stored["submit"] | {
        "model": "", "kept": None, "guided": None, "spread": 1, "start": None,
        "is_encoding": False, "bound": None, "made_by": None,
    }  # fmt: skip
    newer = {
        "submit": submit, "spacing": "even", "guidance_interval": None, "names_model": False,
        "asked_steps": None, "start_t": None,
    }  # fmt: skip
    assert json.loads(write_plan(plan)) == stored | newer
    assert read_plan(json.dumps(stored)) == read_plan(write_plan(plan)) == plan


def test_a_start_is_kept_with_every_byte_of_its_pictures() -> None:
    made = make_plan(n=1)
    start = Start(
        kind="image", pictures=(bytes(range(256)),), states=(b"\xff\xfe",), mask=b"\0\x80",
        weights=(0.1,), seeds=(1, 2),
    )  # fmt: skip
    submit = dataclasses.replace(made.submit, start=start, guided=(0, 1, 2, 3))
    plan = dataclasses.replace(made, submit=submit, asked_steps=9, start_t=3)
    assert read_plan(write_plan(plan)) == plan


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"submit": 1}', "null"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_plan(text)
