"""Has a row the same bytes in batches of every size? And where not, which layer differs first?"""

import os
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu.step import Step, main
from benchmarks.gpu.variants import Inputs, Variant, prepare
from benchmarks.networks import NETWORKS
from diffusion.parameterization import EpsModel

SIZES = 16, 32, 64, 128, 256
CASES: tuple[tuple[str, Variant], ...] = (
    ("paper", "bf16-nhwc"),
    ("mnist", "bf16-nhwc"),
    ("paper", "bf16"),
    ("paper", "f32"),
    ("mnist", "f32"),
)
SETTINGS = "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE"
"""Environment variables that decide whether products are split, and so added in another order."""


@torch.inference_mode()
def run(step: Step) -> None:
    """Every case, for the settings that this process was started with."""
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    cases: tuple[tuple[str, Variant], ...] = (("tiny", "bf16"),) if step.tiny else CASES
    with tempfile.TemporaryDirectory() as folder:
        for name, variant in cases:
            model = NETWORKS[name](Path(folder) / f"{name}-{variant}").model()
            step.attempt(
                f"{name}, {variant}",
                partial(compare, step, name, model, variant),
            )


def compare(step: Step, name: str, model: EpsModel, variant: Variant) -> None:
    """The rows of the smallest size in all others, at the start of the batch and at its end."""
    network = prepare(model, variant, step.device)
    sizes = (2, 4) if step.tiny else SIZES
    least, inputs = sizes[0], Inputs.of(model, sizes[-1], step.device)
    expected = outputs(network, inputs.x_t[:least], inputs.t[:least])
    settings = {key: os.environ.get(key) for key in SETTINGS}
    for size in sizes:
        for place in {0, size - least}:
            rows = torch.arange(size, device=step.device).roll(place)
            made = outputs(network, inputs.x_t[rows], inputs.t[rows])
            differs = [
                layer
                for layer, out in made.items()
                if not torch.equal(out[place : place + least], expected[layer])
            ]
            step.write(
                "invariance",
                {
                    "network": name,
                    "variant": variant,
                    "size": size,
                    "place": place,
                    "equal": not differs,
                    "first": differs[0] if differs else None,
                    "layers": len(differs),
                    "settings": settings,
                },
            )


def outputs(network: EpsModel, x_t: Tensor, t: Tensor) -> dict[str, Tensor]:
    """What each layer makes of a batch, by its name, in the order of the calls; the result last."""
    made: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Module) -> "torch.utils.hooks.RemovableHandle":
        return layer.register_forward_hook(lambda _layer, _inputs, out: made.__setitem__(name, out))

    leaves = [(name, m) for name, m in network.named_modules() if not list(m.children())]
    hooks = [watch(name, layer) for name, layer in leaves]
    try:
        made["eps_hat"] = network(x_t, t)
    finally:
        for hook in hooks:
            hook.remove()
    return made


if __name__ == "__main__":
    main("invariance", run)
