"""The network through torch.compile, captured: how long that takes, and how fast it is then."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.step import Step, main
from benchmarks.gpu.variants import Captured, Inputs, prepare
from benchmarks.machine import seconds_of
from benchmarks.networks import NETWORKS, flops
from diffusion.parameterization import EpsModel

CASES = ("paper", 256), ("mnist", 256), ("paper", 64)


@torch.inference_mode()
def run(step: Step) -> None:
    """A few networks and sizes in bfloat16, channels last; each takes up to a minute to compile."""
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("tiny", 2),) if step.tiny else CASES:
            place = Path(folder) / f"{name}-{size}"
            model = NETWORKS[name](place).model()
            step.attempt(
                f"{name}, {size}",
                partial(measure, step, name, model, size),
            )


def measure(step: Step, name: str, model: EpsModel, size: int) -> None:
    """Compile for one size; write the seconds of that, and of a call."""
    network = prepare(model, "bf16-nhwc", step.device)
    compile_network: Any = torch.compile
    compiled = compile_network(
        network, fullgraph=True, dynamic=False, backend="eager" if step.tiny else "inductor"
    )
    inputs = Inputs.of(model, size, step.device)
    started = time.perf_counter()
    compiled(inputs.x_t, inputs.t)
    compiling = time.perf_counter() - started
    call = Captured(compiled, inputs)
    seconds = seconds_of(call, step.device, 0.02 if step.tiny else 0.3)
    step.write(
        "compiled",
        {
            "network": name,
            "size": size,
            "compile_seconds": compiling,
            "seconds": seconds,
            "flops_per_second": size * flops(model) / seconds,
        },
    )


if __name__ == "__main__":
    main("compiled", run)
