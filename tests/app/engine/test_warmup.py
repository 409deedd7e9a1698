"""What an engine measures when it starts."""

import math

import pytest
import torch
from torch import Tensor

from app.engine.runner import Call
from app.engine.warmup import step_seconds
from tests.app.engine.conftest import Bench


@pytest.mark.parametrize("bench", ["unconditional", "conditional"])
def test_the_steps_that_are_timed_leave_nothing_behind(
    bench: str, request: pytest.FixtureRequest
) -> None:
    made: Bench = request.getfixturevalue(bench)
    runner = made.engine.runner
    curve = step_seconds(made.process, runner, is_conditional=bench == "conditional")
    assert curve.sizes == runner.batch_sizes
    assert all(curve.seconds(size) > 0 for size in curve.sizes)
    assert not len(runner)


def test_sizes_for_which_there_is_no_memory_are_left_out(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = unconditional.engine.runner
    run, sizes = runner.run, runner.batch_sizes
    assert sizes == (4, 8)

    def narrow(call: Call) -> Tensor:
        if len(call.inputs[0]) > 4:
            raise torch.OutOfMemoryError("injected")
        return run(call)

    monkeypatch.setattr(runner, "run", narrow)
    assert step_seconds(unconditional.process, runner, is_conditional=False).sizes == (4,)


def test_a_model_that_cannot_take_a_step_is_no_model_to_serve(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = unconditional.engine.runner
    run = runner.run
    monkeypatch.setattr(runner, "run", lambda call: run(call) * math.nan)
    with pytest.raises(RuntimeError, match="not a number"):
        step_seconds(unconditional.process, runner, is_conditional=False)
