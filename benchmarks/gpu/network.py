"""The network alone, captured: precisions and layouts, by batch size, and the error of each."""

import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.step import Step, main
from benchmarks.gpu.variants import VARIANTS, Captured, Inputs, Variant, prepare
from benchmarks.machine import seconds_of
from benchmarks.networks import NETWORKS, flops
from diffusion.parameterization import EpsModel

SIZES = 256, 64, 512, 16, 1, 1024
ORDER: tuple[Variant, ...] = ("bf16-nhwc", "served", "bf16", "tf32", "f32")
"""The most important first, should the time not do."""
ERROR_ROWS = 16


@torch.inference_mode()
def run(step: Step) -> None:
    """Every network in every variant and size."""
    assert set(ORDER) == set(VARIANTS)
    names = ["tiny"] if step.tiny else ["paper", "mnist", "cifar10"]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model = NETWORKS[name](Path(folder) / name).model()
            for variant in ORDER:
                step.attempt(
                    f"{name}, {variant}",
                    partial(measure, step, name, model, variant),
                )


def measure(step: Step, name: str, model: EpsModel, variant: Variant) -> None:
    """One network in one variant: seconds a call by size, and the error."""
    network = prepare(model, variant, step.device)
    error = rms_error(model, network, step.device)
    per_row = flops(model)
    for size in (2, 4) if step.tiny else SIZES:
        if step.left < 5:
            raise TimeoutError(f"no time left for {size} rows")
        call = Captured(network, Inputs.of(model, size, step.device))
        seconds = seconds_of(call, step.device, 0.02 if step.tiny else 0.2)
        step.write(
            "network",
            {
                "network": name,
                "variant": variant,
                "size": size,
                "seconds": seconds,
                "flops_per_second": size * per_row / seconds,
                "rms": error,
            },
        )


def rms_error(model: EpsModel, network: EpsModel, device: torch.device) -> float:
    """The root mean square difference of eps_hat, which is about 1, to float32 on the CPU."""
    inputs = Inputs.of(model, ERROR_ROWS, torch.device("cpu"))
    expected = model(inputs.x_t, inputs.t)
    made = network(inputs.x_t.to(device), inputs.t.to(device)).float().cpu()
    return float((made - expected).square().mean().sqrt())


if __name__ == "__main__":
    main("network", run)
