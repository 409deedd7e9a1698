"""What an engine measures when it starts."""

import pytest

from app.engine.warmup import step_seconds
from tests.app.engine.conftest import Bench


@pytest.mark.parametrize("bench", ["unconditional", "conditional"])
def test_the_steps_that_are_timed_leave_nothing_behind(
    bench: str, request: pytest.FixtureRequest
) -> None:
    made: Bench = request.getfixturevalue(bench)
    runner = made.engine.runner
    curve = step_seconds(runner, made.process, is_conditional=bench == "conditional")
    assert curve.sizes == runner.batch_sizes
    assert all(curve.seconds(size) > 0 for size in curve.sizes)
    assert not runner.jobs and not runner._states
