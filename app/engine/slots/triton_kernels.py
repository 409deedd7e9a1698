"""The kernels of a step on a GPU: one launch before the network, and two after it."""

import math

import triton

from app.engine.slots import device_code
from app.engine.slots.buffers import States, StepBuffers

BLOCK = 128
"""Groups of four numbers that a program does."""


class TritonKernels:
    """The kernels in Triton. They have the bytes of `ReferenceKernels`."""

    def __init__(self, clip: float | None) -> None:
        self.clip = clip

    def enter(self, states: States, buffers: StepBuffers) -> None:
        """As in `Kernels`."""
        told, network = buffers.told, buffers.network
        D = states.x.shape[1]
        label = network.t if network.label is None else network.label
        device_code.enter[self._grid(buffers, D)](
            states.x, told.rows, told.t, buffers.bad, told.clock, network.x_t, network.t, label,
            network.t.numel(), D, HAS_LABEL=network.label is not None, BLOCK=BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip

    def leave(self, states: States, buffers: StepBuffers) -> None:
        """As in `Kernels`."""
        told, network = buffers.told, buffers.network
        D = states.x.shape[1]
        device_code.leave[self._grid(buffers, D)](
            states.x, states.past, states.ring, states.known, told.rows, told.plan, told.places,
            buffers.bad, told.clock, network.x_t, network.out, network.t.numel(), D,
            HAS_CLIP=self.clip is not None, HAS_V=network.out.shape[1] > network.x_t.shape[1],
            BLOCK=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
        told.clock.add_(1)

    def _grid(self, buffers: StepBuffers, D: int) -> tuple[int, int]:
        """Programs: for every row, for every part of an image."""
        return buffers.network.t.numel(), triton.cdiv(math.ceil(D / 4), BLOCK)
