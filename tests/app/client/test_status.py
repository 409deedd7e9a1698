"""What a server says of a job, as people meet it."""

import dataclasses
from typing import Any

import pytest

from app.client.status import ServedModel
from tests.app.client.test_results import JOB, MODEL


def test_a_job_is_a_bar_and_its_state() -> None:
    html = JOB._repr_html_()
    assert '<progress max="10" value="3"></progress>' in html
    assert "running, 3 of 10 done, about 5 s left" in html


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"left_s": None}, "running, 3 of 10 done"),
        ({"left_s": 6418.9}, "running, 3 of 10 done, about 1 h 47 min left"),
        (
            {"left_s": None, "detail": "waits for the engine"},
            "running, 3 of 10 done: waits for the engine",
        ),
    ],
)
def test_a_jobs_state_is_told_in_words(changes: dict[str, Any], state: str) -> None:
    assert dataclasses.replace(JOB, **changes).state == state


def test_a_model_that_is_not_loaded_says_why() -> None:
    away = ServedModel("b", False, "unloaded", "no memory", None)
    assert repr(away) == "ServedModel(b, unloaded: no memory)"
    assert "unloaded: no memory" in away._repr_html_()
    there = ServedModel("mnist", True, "ready", None, MODEL)
    assert "SHA-256" in there._repr_html_() and repr(there) == "ServedModel(mnist, ready)"
