"""How the network is run: the seam between the runner and PyTorch, OpenVINO, or what comes next.

A runtime is a callable (x (B,C,H,W) float32, t (B,) int64, label (B,) int64 or None) -> eps_hat,
for B among its `batch_sizes`. Samples are the same under any load when a row's bytes depend neither
on B nor on the other rows: `invariant_sizes` measures at warm-up for which B that holds.
"""

import math
import time
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from app.engine.curve import LatencyCurve
from diffusion.compiled import CompiledModel, examples
from diffusion.prediction import EpsModel

RUNTIMES = ("openvino", "eager")


class RuntimeUnavailable(RuntimeError):
    """The runtime asked for is not installed, or does not run on that device."""


class Runtime(Protocol):
    """What the runner needs."""

    name: str
    precision: str
    device: torch.device
    batch_sizes: tuple[int, ...]  # increasing

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor: ...


class EagerRuntime:
    """PyTorch as it is: the reference.

    On a CPU its kernels, and how they are split among threads, change with the batch size; among
    the powers of two from 4 up most give a row the same bytes. On CUDA every batch is padded to one
    size, so that the same kernels always run.
    """

    name = "eager"
    precision = "float32"

    def __init__(self, model: EpsModel, device: torch.device, max_batch: int) -> None:
        self.model = model.to(device)
        self.device = device
        sizes = powers_of_two(max(4, 1 << (max_batch.bit_length() - 1)), first=4)
        self.batch_sizes = sizes if device.type == "cpu" else sizes[-1:]
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        eps_hat: Tensor = self.model(x_t, t, label)
        return eps_hat


class OpenVINORuntime:
    """OpenVINO on the CPU, float32, compiled for each batch size: the default where it installs."""

    name = "openvino"
    precision = "float32"
    device = torch.device("cpu")

    def __init__(self, model: EpsModel, threads: int, max_batch: int) -> None:
        self.batch_sizes = powers_of_two(max_batch, first=1)
        try:
            self._model = CompiledModel(model, threads)
        except ImportError as error:
            raise RuntimeUnavailable(
                "runtime: openvino is not installed; install the extra `openvino`, or use eager"
            ) from error

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        return self._model(x_t, t, label)


def powers_of_two(largest: int, *, first: int) -> tuple[int, ...]:
    """first, 2 first, … and `largest` itself."""
    sizes = []
    while first < largest:
        sizes.append(first)
        first *= 2
    return (*sizes, largest)


def make_runtime(
    name: str, model: EpsModel, device: torch.device, threads: int, max_batch: int
) -> Runtime:
    """The runtime of that name; `auto` is OpenVINO on a CPU where it is installed, else eager.

    Raises RuntimeUnavailable.
    """
    if name == "openvino" and device.type != "cpu":
        raise RuntimeUnavailable(f"runtime: openvino runs on the CPU, not on {device}")
    if name == "eager" or device.type != "cpu":
        return EagerRuntime(model, device, max_batch)
    try:
        return OpenVINORuntime(model, threads, max_batch)
    except RuntimeUnavailable:
        if name == "openvino":
            raise
        return EagerRuntime(model, device, max_batch)


@torch.inference_mode()
def invariant_sizes(runtime: Runtime, model: EpsModel) -> tuple[int, ...]:
    """The batch sizes in which a row has the same bytes, wherever it is and whatever it is beside.

    Measured: the same rows in every size and at several places, against the smallest size. Empty
    when not even that one gives a row the same bytes at every place.
    """
    largest = runtime.batch_sizes[-1]
    inputs = [tensor.to(runtime.device) for tensor in examples(model, largest)]
    x_t, t, label = inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None
    expected: dict[int, Tensor] = {}
    agreeing = []
    for size in runtime.batch_sizes:
        agrees = True
        for start in range(0, largest, max(1, size // 2)):
            rows = torch.arange(start, start + size, device=x_t.device) % largest
            made = runtime(x_t[rows], t[rows], None if label is None else label[rows])
            for row, eps_hat in zip(rows.tolist(), made, strict=True):
                agrees &= torch.equal(eps_hat, expected.setdefault(row, eps_hat))
        if agrees:
            agreeing.append(size)
    return tuple(agreeing)


@torch.inference_mode()
def step_seconds(
    runtime: Runtime, sizes: Sequence[int], model: EpsModel, rounds: int = 3
) -> LatencyCurve:
    """Seconds of one network call for each batch size: the best of so many rounds over all sizes,
    of which each time the second call counts."""
    best = dict.fromkeys(sizes, math.inf)
    for _ in range(rounds):
        for size in sizes:
            inputs = [tensor.to(runtime.device) for tensor in examples(model, size)]
            for _ in range(2):
                started = time.perf_counter()
                runtime(inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None).cpu()
                seconds = time.perf_counter() - started
            best[size] = min(best[size], seconds)
    return LatencyCurve(best)
