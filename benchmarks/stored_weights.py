"""What weights lose that are stored in 16 bits: the bound of the same terms, and the same images.

    python -m benchmarks.stored_weights cifar10 --data cifar10.zip

For float16 and bfloat16 it rounds the weights as `ddpm export --weights-dtype` does, and compares
with the weights as they are: the bound of test images, given their labels, by the same terms and
the same noise, and samples of the same seed. The network is computed in float32 every time, by
PyTorch on the CPU.
"""

import argparse
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.tables import markdown
from diffusion import pixels
from diffusion.bound import Reverse
from diffusion.bound_sum import Terms
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.checkpoint.saving import TORCH_TYPES
from diffusion.config import DataConfig, WeightsType
from diffusion.data import datasets
from diffusion.parameterization import EpsModel
from diffusion.picture_bound import measure, summed
from diffusion.process import Process
from diffusion.sampling import Request, Source, generate

TYPES: tuple[WeightsType, ...] = ("float16", "bfloat16")
SAMPLER_STEPS = 20
"""Of DPM-Solver++, which makes the samples."""


@dataclass(frozen=True)
class Wanted:
    """How much is measured: terms of the bound of each image, and samples."""

    terms: int
    samples: int


@dataclass(frozen=True)
class Found:
    """What was measured with weights of one type."""

    bits_per_dim: Tensor  # (N,) float64, of each test image
    samples: Tensor  # uint8 (M,H,W,C)


def rounded(model: EpsModel, weights_type: WeightsType) -> EpsModel:
    """Return a copy whose weights are rounded to a type, and kept in float32."""
    model = copy.deepcopy(model)
    for weight in model.parameters():
        weight.copy_(weight.to(TORCH_TYPES[weights_type]))
    return model


@torch.inference_mode()
def measured(
    checkpoint: Checkpoint, model: EpsModel, images: Tensor, labels: Tensor | None, wanted: Wanted
) -> Found:
    """Measure the bound of images (N,C,H,W) and make samples, a few of each label."""
    process = Process.from_config(checkpoint.process)
    reverse = Reverse(model, process, checkpoint.process.variance, checkpoint.process.clip)
    terms = Terms.of(wanted.terms, None, process.num_timesteps)
    made = list(measure(reverse, images, labels, terms, seed=0))
    bits = [bound.bits_per_dim for bound in summed(reverse, images, terms, made)]
    source = Source(checkpoint, process, model, torch.device("cpu"), "eager")
    classes = len(checkpoint.classes)
    asked = [i % classes for i in range(wanted.samples)] if classes else None
    request = Request(0, wanted.samples, labels=asked, sampler="dpmpp", num_steps=SAMPLER_STEPS)
    samples = pixels.to_uint8(generate(source, request).numpy())
    return Found(torch.tensor(bits, dtype=torch.float64), torch.from_numpy(samples))


def row(name: str, weights_bytes: int, found: Found, exact: Found) -> list[str | int | float]:
    """A line of the table: how far a type is from the weights as they are."""
    difference = found.bits_per_dim - exact.bits_per_dim
    error = difference.std().item() / math.sqrt(len(difference))
    apart = (found.samples.double() - exact.samples.double()).square().mean().sqrt().item()
    return [
        name, f"{weights_bytes / 1e6:.1f} MB", f"{found.bits_per_dim.mean().item():.4f}",
        f"{difference.mean().item():+.1e} ± {error:.0e}", f"{apart:.3f}",
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the flags ask for, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stored_weights", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("checkpoint", help="checkpoint's folder, or the name of an included model")
    add("--data", help="data set by name, or path to images (default: the card's)")
    add("--images", type=int, default=100, help="test images (default: %(default)s)")
    add("--terms", type=int, default=20, help="terms of each (default: %(default)s)")
    add("--samples", type=int, default=50, help="samples (default: %(default)s)")
    args = parser.parse_args(argv)
    checkpoint = open_checkpoint(args.checkpoint)
    data = datasets.load(
        DataConfig(args.data or checkpoint.card.data or ""), "test",
        channels=checkpoint.unet.in_channels,
    )  # fmt: skip
    index = torch.linspace(0, len(data) - 1, args.images, dtype=torch.float64).long()
    images = pixels.to_model(data.pixels[index])
    is_conditional = checkpoint.unet.num_class_embeds is not None and data.labels is not None
    labels = data.labels[index] if is_conditional and data.labels is not None else None
    model, wanted = checkpoint.eps_model(), Wanted(args.terms, args.samples)
    exact = measured(checkpoint, model, images, labels, wanted)
    count = checkpoint.header.parameters
    rows = [row("float32", 4 * count, exact, exact)]
    for name in TYPES:
        found = measured(checkpoint, rounded(model, name), images, labels, wanted)
        rows.append(row(name, 2 * count, found, exact))
    header = ["weights", "on disk", "bits/dim", "difference", "RMSE of samples, of 255"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
