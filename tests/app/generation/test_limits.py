"""What could never be admitted is refused, by the name of the field that asks for it."""

from typing import Any

import pytest

from app.generation.errors import InvalidField
from app.generation.limits import check_cost
from app.generation.plan import plan
from app.generation.schemas.requests import SampleRequest
from app.generation.starts import Begun
from app.settings import Settings
from app.wire import starts as wire
from tests.model_info import MODEL

LIMITS = Settings(max_client_steps=100, max_client_samples=6, max_queue_steps=200)


def refused(n: int, steps: int, limits: Settings = LIMITS, **names: str) -> tuple[str, Any]:
    with pytest.raises(InvalidField) as error:
        check_cost(n, steps, limits, **names)
    return error.value.name, error.value.value


def test_too_many_images_and_too_long_a_chain_are_told_apart() -> None:
    check_cost(5, 20, LIMITS)
    check_cost(1, 100, LIMITS)
    assert refused(6, 20) == ("n", 6)
    assert refused(7, 1) == ("n", 7)
    assert refused(2, 60, number="image") == ("image", 2)
    assert refused(1, 101) == ("steps", 101)


def test_what_the_whole_queue_does_not_hold_no_client_can_have() -> None:
    """It would be 503 for ever."""
    assert refused(5, 1, Settings(max_queue_samples=4)) == ("n", 5)
    assert refused(1, 9, Settings(max_queue_steps=8)) == ("steps", 9)


@pytest.mark.parametrize("as_job", [False, True])
def test_a_chain_that_never_fits_is_refused_by_what_makes_it_long(as_job: bool) -> None:
    """A job of it would wait for ever."""

    def field(**fields: Any) -> str:
        request = SampleRequest.model_validate({"n": 1, **fields})
        begun = Begun(wire.Start(kind="image", pictures=(bytes(64),), mask=bytes(64)), None)
        with pytest.raises(InvalidField) as error:
            plan(request, MODEL, Settings(max_client_steps=9), as_job=as_job, begun=begun)
        assert "at most 9 steps" in error.value.reason
        return error.value.name

    assert field(steps=10) == "steps"
    assert field(steps=9, resamplings=2, jump=3, mask="AA==") == "resamplings"
    assert field(spacing=list(range(100, 0, -1))) == "spacing"


def test_a_job_of_many_images_is_run_in_parts() -> None:
    planned = plan(SampleRequest(n=50, steps=9), MODEL, Settings(max_client_steps=9), as_job=True)
    assert len(planned.submit.indices) == 50
