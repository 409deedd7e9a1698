"""Makes a board of slots for a device, as large as its memory allows."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from app.engine.runtime import RuntimeUnavailable
from app.engine.slots.board import Model, SlotBoard
from app.engine.slots.buffers import MAX_STEPS, Form, StepBuffers
from app.engine.slots.cuda import CUDAQueue
from app.engine.slots.golden import agrees
from app.engine.slots.kernels import Kernels, ReferenceKernels
from app.engine.slots.queue import Immediate, Queue

log = logging.getLogger("ddpm.engine")

NUM_SLOTS = 4096
"""Chains that may have begun on a GPU; further ones wait."""
NUM_SLOTS_CPU = 256
DEPTH = 2
"""Batches that are under way on a GPU: one is done while the host prepares the next."""
SMALLEST, LARGEST = 16, 1024
"""Batch sizes that a GPU may choose for itself."""
KNEE = 0.8
"""Share of the best rows a second from which on a batch size is large enough: beyond it everyone
waits longer for little more."""
TIMED, ROUNDS = 10, 3
"""Steps that are timed together, and how often: the shortest time counts."""


class Device(NamedTuple):
    """What a board of slots works with."""

    queue: Queue
    kernels: Kernels


def open_device(device: torch.device, clip: float | None) -> Device:
    """The queue of a device, with the fastest kernels that have the bytes of the CPU there. Raises
    RuntimeUnavailable where none have."""
    if device.type == "cpu":
        return Device(Immediate(), ReferenceKernels(clip))
    queue = CUDAQueue(device)
    for kernels in (_triton_kernels(clip), ReferenceKernels(clip)):
        if kernels is not None and agrees(kernels, queue, clip):
            return Device(queue, kernels)
        log.warning("runtime slots: no Triton, or other bytes than the CPU's on %s", device)
    raise RuntimeUnavailable(f"runtime: slots: {device} makes other bytes than the CPU")


def make_board(opened: Device, model: Model, form: Form, sizes: tuple[int, ...]) -> SlotBoard:
    """A board with a step of each of these sizes; of half as many rows, again and again, where
    there is too little memory. Raises torch.OutOfMemoryError where not even two rows fit."""
    queue, kernels = opened
    num_slots, depth, max_steps = (
        (NUM_SLOTS, DEPTH, MAX_STEPS) if queue.runs_ahead else (NUM_SLOTS_CPU, 1, 1)
    )
    while True:
        try:
            return SlotBoard(
                model, form, sizes, kernels, queue,
                num_slots=num_slots, depth=depth, max_steps=max_steps,
            )  # fmt: skip
        except torch.OutOfMemoryError:
            half = sizes[-1] // 2
            if half < 2:
                raise
            log.warning("out of memory: batches of at most %d rows", half)
            sizes = tuple(size for size in sizes if size <= half) or (half,)


def measured_size(opened: Device, model: Model, form: Form) -> int:
    """The batch size that is worth having, by the times that the network takes."""
    return worthwhile_size(lambda size: network_seconds(opened.queue, model, form, size))


def worthwhile_size(seconds: Callable[[int], float]) -> int:
    """The smallest of the sizes SMALLEST, twice as much, … with KNEE of the best rows a second.

    `seconds` measures a step of so many rows; it raises torch.OutOfMemoryError for more than there
    is memory for.
    """
    rates: dict[int, float] = {}
    size = SMALLEST
    while size <= LARGEST:
        try:
            rates[size] = size / seconds(size)
        except torch.OutOfMemoryError:
            if not rates:
                raise
            break
        size *= 2
    enough = KNEE * max(rates.values())
    return next(size for size, rate in rates.items() if rate >= enough)


def network_seconds(queue: Queue, model: Model, form: Form, size: int) -> float:
    """Seconds that the network takes for so many rows, recorded; what is in them does not matter.

    Raises torch.OutOfMemoryError.
    """
    network = StepBuffers.zeros(size, form, queue.device).network

    @torch.inference_mode()
    def call() -> None:
        network.out.copy_(model(network.x_t, network.t, network.label))

    start = queue.record(call)
    taken = []
    for _ in range(ROUNDS):
        queue.mark().wait()
        began = time.perf_counter()
        for _ in range(TIMED):
            start()
        queue.mark().wait()
        taken.append((time.perf_counter() - began) / TIMED)
    return min(taken)


def _triton_kernels(clip: float | None) -> Kernels | None:
    try:
        from app.engine.slots.triton_kernels import TritonKernels
    except ImportError:
        return None
    return TritonKernels(clip)
