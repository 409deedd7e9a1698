"""Bytes: noise, exact functions and every sampler's updates on the device, against the CPU's."""

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from benchmarks.gpu.step import Step, main
from diffusion import exact_math, noise
from diffusion.config import ProcessConfig
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.spacing import SamplerName

SHAPE = (3, 32, 32)
STEPS = 10
Make = Callable[[torch.device], Tensor]
"""Makes the same numbers on any device."""


def run(step: Step) -> None:
    """A line for each: equal, or where the first difference is."""
    rows = 8 if step.tiny else 3300  # 10^7 numbers
    checks: dict[str, Make] = {
        "noise": lambda device: draw(rows, device),
        "exp": lambda device: exact_math.exp(line(-40, 40, rows, device)),
        "log": lambda device: exact_math.log(line(1e-9, 1, rows, device)),
        "cos and sin": lambda device: exact_math.cos_sin(
            torch.arange(0, 1 << 32, (1 << 32) // (1000 * rows), device=device)
        ),
        **{f"sampler {name}": chain(name, min(rows, 64)) for name in get_args(SamplerName)},
    }
    for what, make in checks.items():
        step.attempt(what, partial(compare, step, what, make))


def compare(step: Step, what: str, make: Make) -> None:
    """Write whether the device makes the CPU's bytes."""
    expected, made = make(torch.device("cpu")), make(step.device).cpu()
    bits = torch.int32 if expected.dtype == torch.float32 else torch.int64
    differs = (expected.view(bits) != made.view(bits)).flatten().nonzero().flatten()
    first = int(differs[0]) if len(differs) else None
    step.write(
        "bytes",
        {
            "what": what,
            "numbers": expected.numel(),
            "equal": first is None,
            "differing": len(differs),
            "first": first,
        },
    )


def draw(rows: int, device: torch.device) -> Tensor:
    """Noise of large and small seeds, indices and draws."""
    place = torch.arange(rows, device=device)
    return noise.normal(place * 2**50 + 7, place * 2**33, place % 1001, SHAPE)


def line(start: float, end: float, rows: int, device: torch.device) -> Tensor:
    """Numbers at even distances, float64; made on the CPU, where they are always the same."""
    return torch.linspace(start, end, 1000 * rows, dtype=torch.float64).to(device)


def chain(name: SamplerName, rows: int) -> Make:
    """Whole chains of a sampler with a stand-in for the network that has the same bytes anywhere:
    it is one multiplication."""
    table = make_table(Process.from_config(ProcessConfig()), name, STEPS, eta=0.5)

    def make(device: torch.device) -> Tensor:
        indices = torch.arange(rows, device=device)
        seeds = torch.full_like(indices, 5)
        states = sample(
            lambda x_t, _t, _label: 0.75 * x_t, table, seeds, indices, SHAPE, Conditioning(None)
        )
        return torch.cat([state.x_t for state in states])

    return make


if __name__ == "__main__":
    main("exact", run)
