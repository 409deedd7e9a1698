"""Makes a board of slots for a device, as large as its memory allows."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from app.engine.runtime import RuntimeUnavailable
from app.engine.slots.board import Model, SlotBoard
from app.engine.slots.buffers import MAX_STEPS, Form, StepBuffers
from app.engine.slots.cuda import CUDAQueue
from app.engine.slots.golden import agrees
from app.engine.slots.kernels import Kernels, ReferenceKernels
from app.engine.slots.queue import Immediate, Queue
from diffusion.sampler_table import HISTORY

log = logging.getLogger("ddpm.engine")

NUM_SLOTS, NUM_SLOTS_CPU = 4096, 256
"""Chains that may have begun, at most; further ones wait."""
SLOT_BYTES = 1 << 30
"""Memory for the slots, unless two batches need more."""
SHORT = 3 * 64 * 64
"""Numbers of the largest image whose steps may be short enough to take several at once."""
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
    triton = _triton_kernels(clip)
    candidates: list[Kernels] = [] if triton is None else [triton]
    candidates.append(ReferenceKernels(clip))
    return Device(queue, first_that_agrees(candidates, queue, clip))


def first_that_agrees(candidates: Sequence[Kernels], queue: Queue, clip: float | None) -> Kernels:
    """The first kernels that have the bytes of the CPU. Raises RuntimeUnavailable where none have;
    some may not even run, as Triton without a C compiler."""
    for kernels in candidates:
        name = type(kernels).__name__
        try:
            if agrees(kernels, queue, clip):
                return kernels
            log.warning("%s on %s: other bytes than the CPU's", name, queue.device)
        except Exception as error:
            log.warning("%s on %s cannot be used", name, queue.device, exc_info=error)
    raise RuntimeUnavailable(f"runtime: slots: other bytes on {queue.device} than on a CPU")


def make_board(opened: Device, model: Model, form: Form, sizes: tuple[int, ...]) -> SlotBoard:
    """A board with a step of each of these sizes; of half as many rows, again and again, where
    there is too little memory. Raises torch.OutOfMemoryError where not even two rows fit."""
    queue, kernels = opened
    D = math.prod(form.shape)
    depth = DEPTH if queue.runs_ahead else 1
    max_steps = MAX_STEPS if queue.runs_ahead and D <= SHORT else 1
    most = NUM_SLOTS if queue.runs_ahead else NUM_SLOTS_CPU
    fitting = SLOT_BYTES // (4 * (1 + HISTORY) * D)  # float32: the state, and what is remembered
    while True:
        num_slots = max(2 * sizes[-1], min(most, fitting))
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
