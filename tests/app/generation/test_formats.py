"""The formats of whole answers: each is made of what it keeps, and of nothing else."""

import pytest

from app.generation import cost
from app.generation.collect import Needs
from app.generation.formats import SAMPLE, TRAJECTORY, Formats
from tests.app.jobs.fakes import STEPS, answer, make_plan

PLANS = {False: make_plan(n=2), True: make_plan(n=2, shown=(0, 2, STEPS))}


@pytest.mark.parametrize(
    ("formats", "media_type"),
    [(formats, media_type) for formats in (SAMPLE, TRAJECTORY) for media_type in formats],
)
def test_what_a_format_keeps_is_enough_to_make_it_and_is_counted(
    formats: Formats, media_type: str
) -> None:
    plan = PLANS[formats is TRAJECTORY]
    content = answer(plan, media_type)
    assert content
    assert len(content) < formats[media_type].cost(plan) < len(content) + 2 * cost.REQUEST_BYTES


def test_only_arrays_are_kept_as_floats() -> None:
    exact = [name for name, chosen in {**SAMPLE, **TRAJECTORY}.items() if chosen.needs.exact]
    assert exact == ["application/x-npz"]
    assert not SAMPLE["application/x-npz"].needs.exact
    assert SAMPLE["image/png"].needs == Needs(x_0=True)
