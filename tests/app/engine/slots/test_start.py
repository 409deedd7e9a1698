"""How a board of slots is made: for a device, as large as its memory allows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine.engine import Engine
from app.engine.loading import load
from app.engine.runtime import RuntimeUnavailable
from app.engine.slots import start
from app.engine.slots.buffers import Form, States, StepBuffers
from app.engine.slots.kernels import ReferenceKernels
from app.engine.slots.queue import Immediate
from app.engine.slots.start import (
    DEPTH,
    LARGEST,
    SMALLEST,
    Device,
    first_that_agrees,
    make_board,
    measured_size,
    network_seconds,
    open_device,
    worthwhile_size,
)
from app.wire.messages import Event, Finished, Limited, Load, Submit
from app.wire.options import Options
from tests.app.engine.slots.conftest import SHAPE, toy
from tests.app.engine.slots.fake_queue import FakeQueue
from tests.app.engine.slots.test_golden import Nearly
from tests.tiny import save_tiny

FORM = Form(SHAPE, 1, is_conditional=True, null_label=3)


class Small(FakeQueue):
    """A device that has memory for steps of up to four rows."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recorded = getattr(self, "recorded", 0) + 1
        if self.recorded <= 2:
            raise torch.OutOfMemoryError("injected")
        return super().record(step)


def test_where_a_step_does_not_fit_half_as_many_rows_are_tried() -> None:
    board = make_board(Device(Small(), ReferenceKernels(1.0)), toy, FORM, (16,))
    assert board.batch_sizes == (4,)
    assert board.depth == DEPTH, "the device works by itself"


def test_where_not_even_two_rows_fit_the_error_is_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        make_board(Device(Small(), ReferenceKernels(1.0)), toy, FORM, (4,))


def test_a_cpu_has_one_step_under_way_that_can_be_repeated() -> None:
    board = make_board(open_device(torch.device("cpu"), 1.0), toy, FORM, (4, 8))
    assert (board.depth, board.max_steps, board.can_repeat) == (1, 1, True)


@pytest.mark.parametrize(
    ("side", "num_slots", "max_steps"),
    [(28, 4096, 16), (64, 4096, 16), (128, 1365, 1), (1024, 32, 1)],
)
def test_large_images_have_fewer_slots_and_one_step_at_a_time(
    side: int, num_slots: int, max_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, int] = {}

    def noted(*_: object, **numbers: int) -> None:
        asked.update(numbers)

    monkeypatch.setattr(start, "SlotBoard", noted)
    form = Form((3, side, side), 3, is_conditional=False, null_label=None)
    make_board(Device(FakeQueue(), ReferenceKernels(1.0)), toy, form, (16,))
    assert asked == {"num_slots": num_slots, "depth": DEPTH, "max_steps": max_steps}


class Broken(ReferenceKernels):
    """Kernels that cannot be compiled."""

    def enter(self, _states: States, _buffers: StepBuffers) -> None:
        raise RuntimeError("no C compiler")


def test_kernels_that_do_not_run_or_differ_are_passed_over() -> None:
    queue, whole = FakeQueue(), ReferenceKernels(1.0)
    broken, nearly = Broken(1.0), Nearly(1.0)
    assert first_that_agrees([broken, nearly, whole], queue, 1.0) is whole
    with pytest.raises(RuntimeUnavailable, match="other bytes on cpu than on a CPU"):
        first_that_agrees([broken, nearly], queue, 1.0)


@pytest.mark.parametrize(
    ("milliseconds", "size"),
    [
        ({16: 1.0, 32: 1.0, 64: 1.0, 128: 1.2, 256: 2.2, 512: 4.4, 1024: 8.8}, 128),
        ({16: 1.0, 32: 2.0, 64: 4.0, 128: 8.0, 256: 16.0, 512: 32.0, 1024: 64.0}, 16),
        ({16: 1.0, 32: 1.0, 64: 1.0, 128: 1.0, 256: 1.0, 512: 1.0, 1024: 1.0}, 1024),
        ({16: 1.0, 32: 1.0}, 32),
    ],
    ids=["flattens", "no larger is better", "never flattens", "memory ends"],
)
def test_the_size_is_the_smallest_with_most_of_the_rate(
    milliseconds: dict[int, float], size: int
) -> None:
    def seconds(rows: int) -> float:
        if rows not in milliseconds:
            raise torch.OutOfMemoryError("injected")
        return milliseconds[rows] / 1000

    assert worthwhile_size(seconds) == size


def test_without_memory_for_the_smallest_size_there_is_none() -> None:
    def seconds(_rows: int) -> float:
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(torch.OutOfMemoryError):
        worthwhile_size(seconds)


def test_the_network_is_timed_in_a_recorded_step() -> None:
    sizes: list[int] = []

    def noted(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        sizes.append(len(x_t))
        return toy(x_t, t, label)

    assert network_seconds(Immediate(), noted, FORM, 32) > 0
    assert set(sizes) == {32}
    assert SMALLEST <= measured_size(open_device(torch.device("cpu"), 1.0), noted, FORM) <= LARGEST
    assert {SMALLEST, LARGEST} < set(sizes)


def made_by(runtime: str, checkpoint: Path, submit: Submit) -> list[Event | Limited]:
    asked = Load("", str(checkpoint), "tiny", max_batch=8)
    network, info = load(asked, Options("cpu", runtime, threads=1))
    assert info.runtime == runtime
    engine = Engine()
    engine.add(network)
    engine.submit(submit)
    events: list[Event | Limited] = []
    while not engine.is_idle:
        while engine.begin(0):
            pass
        call = engine.oldest(0)
        assert call is not None
        engine.run(call)
        engine.end(0)
        events += engine.take_events()
    return events


def test_an_engine_with_slots_has_the_bytes_of_an_engine_without(tmp_path: Path) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, channels=3)
    submit = Submit("a", "", 1, (0, 1, 2), (0, 1, 2), "ddpm", 20, guidance=1.5, guided=(5, 10))
    images = [
        {e.index: e.x_0 for e in made_by(runtime, checkpoint, submit) if isinstance(e, Finished)}
        for runtime in ("eager", "slots")
    ]
    assert images[0] == images[1] and len(images[0]) == 3
