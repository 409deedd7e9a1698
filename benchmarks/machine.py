"""Where a benchmark ran: the processor, what is installed, and what its matrix units can do."""

import importlib.util
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion.cores import available_cores

MatrixPrecision = Literal["float32", "tf32", "bfloat16"]
"""What matrices are multiplied in; `tf32` is float32 with a GPU's shorter factors."""
TORCH_TYPES: dict[MatrixPrecision, torch.dtype] = {
    "float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16
}  # fmt: skip
LIBRARIES = (
    "torch", "triton", "openvino", "diffusers", "denoising-diffusion-pytorch", "litserve",
    "fastapi", "uvicorn", "uvloop",
)  # fmt: skip
PEAK_SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}
"""Sides of the square matrices whose products are tried."""
PEAK_IMAGES = {"cpu": 4, "cuda": 256}
"""Images of 256 channels and 32x32 pixels that are convolved."""
Product = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 0.02
"""Seconds of work that a GPU is given before it is waited for: else far more would queue up."""
PEAK_SECONDS = 0.5
"""For each size, at least."""


def machine(device: str, libraries: Sequence[str] = LIBRARIES) -> dict[str, Any]:
    """Where it runs, and on what."""
    found = [name for name in libraries if importlib.util.find_spec(name.replace("-", "_"))]
    return {
        "cpu": processor(),
        "cores": available_cores(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "versions": {name: version(name) for name in found},
    }


def processor() -> str:
    """Its name, and what tells apart the generations that share one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    pairs = (line.partition(":") for line in lines)
    said = {name.strip(): value.strip() for name, _, value in pairs}
    name = said.get("model name", platform.machine())
    keys = [f"{key} {said[key]}" for key in ("cpu family", "model") if key in said]
    return ", ".join([name, *keys, torch.backends.cpu.get_cpu_capability()])


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Clock = Callable[[], float]
"""Tells seconds, of which differences count."""


def processor_seconds() -> float:
    """The processor time that this process and those that it has started have taken: what a busy
    machine does besides does not count. For what runs on one thread; others wait in loops."""
    import psutil  # which a GPU's machine may lack

    mine = psutil.Process()
    started = mine.children(recursive=True)
    return time.process_time() + sum(sum(child.cpu_times()[:2]) for child in started)


CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": processor_seconds}


def seconds_of(
    call: Callable[[], object],
    device: torch.device,
    at_least: float,
    clock: Clock = time.perf_counter,
) -> float:
    """Seconds of one call: after two that warm up, again and again for `at_least` seconds, in three
    parts of which the fastest counts. A GPU is waited for after as many calls as take AT_ONCE."""
    call()
    synchronise(device)
    started = clock()
    call()
    synchronise(device)
    once = max(clock() - started, 1e-6)
    together = max(1, int(AT_ONCE / once))
    fastest = float("inf")
    for _ in range(3):
        started, count = clock(), 0
        while not count or clock() - started < at_least / 3:
            for _ in range(together):
                call()
            synchronise(device)
            count += together
        fastest = min(fastest, (clock() - started) / count)
    return fastest


def use_tf32(*, allowed: bool) -> None:
    """Let PyTorch shorten the factors of float32 products on a GPU from now on, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@torch.inference_mode()
def matrix_peak(
    device: torch.device,
    precision: MatrixPrecision,
    sides: Sequence[int] = (),
    seconds: float = PEAK_SECONDS,
    clock: Clock = time.perf_counter,
) -> float:
    """FLOP/s of the fastest of several large products: what a network is measured against.

    They are products of square matrices, and a 3x3 convolution of 256 channels: on some processors
    PyTorch multiplies float32 matrices at half the speed at which it convolves.
    """
    dtype = TORCH_TYPES[precision]
    use_tf32(allowed=precision == "tf32")

    def rate(product: Product, a: Tensor, b: Tensor, flops: int) -> float:
        a, b = a.to(dtype), b.to(dtype)
        return flops / seconds_of(lambda: product(a, b), device, seconds, clock)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    found = [
        rate(torch.matmul, numbers(side, side), numbers(side, side), 2 * side**3)
        for side in sides or PEAK_SIDES[device.type]
    ]
    images, kernels = numbers(PEAK_IMAGES[device.type], 256, 32, 32), numbers(256, 256, 3, 3)
    flops = 2 * images.numel() * 256 * 9
    layout = torch.channels_last
    images, kernels = images.to(memory_format=layout), kernels.to(memory_format=layout)
    return max(*found, rate(partial(F.conv2d, padding=1), images, kernels, flops))
