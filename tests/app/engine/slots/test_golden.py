"""The check that an engine makes before it serves from a device."""

import torch

from app.engine.slots.buffers import States, StepBuffers
from app.engine.slots.golden import agrees
from app.engine.slots.kernels import ReferenceKernels
from app.engine.slots.queue import Immediate
from tests.app.engine.slots.fake_queue import FakeQueue


class Nearly(ReferenceKernels):
    """Kernels whose results are off by a rounding."""

    def leave(self, states: States, buffers: StepBuffers) -> None:
        super().leave(states, buffers)
        states.ring.copy_(torch.nextafter(states.ring, torch.full_like(states.ring, 9.0)))


def test_a_device_with_the_bytes_of_the_cpu_passes() -> None:
    assert agrees(ReferenceKernels(1.0), Immediate(), 1.0)
    assert agrees(ReferenceKernels(None), FakeQueue("late"), None)


def test_the_last_bit_of_a_number_is_enough_to_fail() -> None:
    assert not agrees(Nearly(1.0), Immediate(), 1.0)
