"""What an engine measures when it starts."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.runner import NetworkCall
from app.engine.warmup import JOB_SECONDS, Rehearsal, Tell, invariant_sizes, step_seconds
from app.wire.channel import Disconnected
from app.wire.messages import Done
from tests.app.engine.conftest import Bench


def into(told: list[tuple[str, int, int]]) -> Tell:
    """Keeps what is told."""

    def tell(step: str, done: int = 0, total: int = 0) -> None:
        told.append((step, done, total))

    return tell


@pytest.mark.parametrize("bench", ["unconditional", "conditional"])
def test_the_steps_that_are_timed_leave_nothing_behind(
    bench: str, request: pytest.FixtureRequest
) -> None:
    made: Bench = request.getfixturevalue(bench)
    runner = made.runner
    told: list[tuple[str, int, int]] = []
    curve, _ = step_seconds(
        made.process, runner, is_conditional=bench == "conditional", tell=into(told)
    )
    assert curve.sizes == runner.batch_sizes
    assert all(curve.seconds(size) > 0 for size in curve.sizes)
    assert not len(runner)
    assert [done for _, done, _ in told] == list(range(1, len(told) + 1)), "every round is told"
    assert all(done <= total for _, done, total in told)


def test_each_batch_size_that_is_prepared_is_told(unconditional: Bench) -> None:
    told: list[tuple[str, int, int]] = []
    sizes = invariant_sizes(unconditional.runtime, unconditional.model, into(told))
    assert sizes == (4, 8)
    assert told == [
        ("preparing the network, batch size", 1, 2),
        ("preparing the network, batch size", 2, 2),
    ]


def test_of_sizes_that_are_known_each_but_the_smallest_is_run_once(unconditional: Bench) -> None:
    runtime, model = unconditional.runtime, unconditional.model
    prepared: list[int] = []
    calls: list[int] = []

    class Counting:
        batch_sizes = (2, 4, 8, 16)
        device = runtime.device
        prepare = prepared.extend

        def __call__(self, x_t: Tensor, *_others: Tensor | None) -> Tensor:
            calls.append(len(x_t))
            return x_t.clone()

    counting: Any = Counting()
    assert invariant_sizes(counting, model, known=(4, 8)) == (4, 8)
    assert prepared == [4, 8]
    assert calls == [4] * 4 + [8]


def test_sizes_for_which_there_is_no_memory_are_left_out(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = unconditional.runner
    run, sizes = runner.run, runner.batch_sizes
    assert sizes == (4, 8)

    def narrow(call: NetworkCall) -> None:
        if len(call.inputs[0]) > 4:
            raise torch.OutOfMemoryError("injected")
        run(call)

    monkeypatch.setattr(runner, "run", narrow)
    timing = step_seconds(unconditional.process, runner, is_conditional=False)
    assert timing.curve.sizes == (4,)
    assert not timing.is_settled, "there may be more memory next time"


def test_a_model_that_cannot_take_a_step_is_no_model_to_serve(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = unconditional.runner
    run = runner.run

    def damaged(call: NetworkCall) -> None:
        run(call)
        assert call.out is not None
        call.out.mul_(math.nan)

    monkeypatch.setattr(runner, "run", damaged)
    with pytest.raises(RuntimeError, match="not a number"):
        step_seconds(unconditional.process, runner, is_conditional=False)


CURVE = {1: 3.1, 2: 6.4, 4: 10.7, 8: 18.3, 16: 33.4}
"""Milliseconds of a step, as measured on two quiet cores: 16 rows get 9% more done than 8."""


def chosen_on_a_busy_machine(noise: random.Random) -> tuple[int, ...]:
    """The sizes that a start chooses where other processes lengthen a third of all steps, some by
    as much again."""
    rehearsal = Rehearsal(tuple(CURVE), 1000, is_conditional=False)
    while True:
        try:
            (job,) = rehearsal.receive(wait=True)
        except Disconnected:
            return rehearsal.curve().up_to_the_knee().sizes
        slower = 1 + max(0.0, noise.uniform(-2.0, 1.0))
        milliseconds = CURVE[len(job.indices)] * slower * job.steps
        rehearsal.send(Done(job.id, 0.0, milliseconds / 1000))


def test_two_starts_choose_the_same_batch_sizes_whatever_else_runs() -> None:
    noise = random.Random(0)
    assert {chosen_on_a_busy_machine(noise) for _ in range(300)} == {tuple(CURVE)}


class Machine:
    """Counts who holds it."""

    def __init__(self) -> None:
        self.held = 0
        self.times = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        assert not self.held
        self.held, self.times = 1, self.times + 1
        yield
        self.held = 0


def test_the_machine_is_held_for_each_job_and_given_back_between_them(
    unconditional: Bench,
) -> None:
    machine, told = Machine(), list[tuple[str, int, int]]()
    step_seconds(
        unconditional.process, unconditional.runner, is_conditional=False, tell=into(told),
        machine=machine,
    )  # fmt: skip
    assert not machine.held and machine.times >= len(told)


def test_it_is_given_back_when_a_step_cannot_be_taken(
    unconditional: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    monkeypatch.setattr(unconditional.runner, "run", lambda _call: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        step_seconds(
            unconditional.process, unconditional.runner, is_conditional=False, machine=machine
        )
    assert not machine.held and machine.times == 1


def test_on_the_cpu_bytes_are_compared_beside_whatever_runs(unconditional: Bench) -> None:
    machine = Machine()
    invariant_sizes(unconditional.runtime, unconditional.model, machine=machine)
    assert not machine.times


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.5])
def test_steps_that_are_timed_together_take_no_longer_than_others_may_wait(seconds: float) -> None:
    """On a network whose rows take as long in any batch."""
    rehearsal = Rehearsal((1, 4, 16), 1000, is_conditional=False)
    asked = []
    while True:
        try:
            (job,) = rehearsal.receive(wait=True)
        except Disconnected:
            break
        taken = seconds * job.steps * len(job.indices) / 16
        asked.append((len(job.indices), job.steps, taken))
        rehearsal.send(Done(job.id, 0.0, taken))
    assert all(taken <= max(JOB_SECONDS, seconds) for _, _, taken in asked)
    assert len(asked) >= 2 * 3, "each size twice, however long a step takes"
