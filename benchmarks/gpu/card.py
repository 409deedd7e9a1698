"""Facts of the card: matrix peaks, copy rate, what a launch and a graph of small kernels cost."""

import os
import shutil
from collections.abc import Callable

import torch

from benchmarks.gpu.step import Step, main
from benchmarks.machine import TORCH_TYPES, machine, matrix_peak, seconds_of

KERNELS = 1, 100, 300
"""In a graph of kernels that do next to nothing."""


@torch.inference_mode()
def run(step: Step) -> None:
    """What the other steps are measured against; the best of few readings each."""
    device, seconds = step.device, 0.02 if step.tiny else 0.5
    step.write(
        "machine",
        {
            **machine(device.type),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "gcc": shutil.which("gcc") is not None,
            "processors": os.cpu_count(),
        },
    )
    for precision in TORCH_TYPES:
        sides = (64, 128) if step.tiny else ()
        peak = matrix_peak(device, precision, sides, seconds)
        step.write("peak", {"precision": precision, "flops": peak})
    numbers = (1 << 16) if step.tiny else (1 << 28)
    a = torch.zeros(numbers, device=device)
    b = torch.empty_like(a)
    copying = seconds_of(lambda: b.copy_(a), device, seconds)
    step.write("copy", {"bytes_per_second": 8 * numbers / copying})  # read and written
    small = torch.zeros(1, device=device)
    step.write("launch", {"seconds": seconds_of(lambda: small.add_(1.0), device, seconds)})
    for count in KERNELS:
        taken = seconds_of(graph(count, device), device, seconds)
        step.write("graph", {"kernels": count, "seconds": taken})


def graph(count: int, device: torch.device) -> Callable[[], object]:
    """So many small kernels, one after the other, in a graph; on a CPU without one."""
    number = torch.zeros(1, device=device)

    def kernels() -> None:
        for _ in range(count):
            number.add_(1.0)

    if device.type != "cuda":
        return kernels
    kernels()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        kernels()

    def replay() -> torch.Tensor:
        recorded.replay()
        return number  # which the graph writes to, and so must stay

    return replay


if __name__ == "__main__":
    main("card", run)
