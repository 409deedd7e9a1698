"""From a checkpoint and a request to images, in this process: what `ddpm sample` runs."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.config import Variance
from diffusion.openvino.model import CompiledModel
from diffusion.process import Process
from diffusion.samplers import Conditioning, Model, SamplerTable, make_table, sample
from diffusion.spacing import SamplerName, default_steps, default_variance

RuntimeName = Literal["auto", "openvino", "eager"]


class RequestError(ValueError):
    """A request does not fit the checkpoint; the message names the field."""


@dataclass(frozen=True)
class Source:
    """A checkpoint ready to sample from."""

    checkpoint: Checkpoint
    process: Process
    model: Model
    device: torch.device
    runtime: Literal["openvino", "eager"]

    @classmethod
    def open(cls, source: str | Path, device: str = "auto", runtime: RuntimeName = "auto") -> Self:
        """Load a folder or built-in name. Raises CheckpointError, RequestError."""
        checkpoint = open_checkpoint(source)
        target = pick_device(device)
        process = Process.from_config(checkpoint.process)
        model = checkpoint.eps_model(target)
        if runtime == "eager" or target.type != "cpu":
            if runtime == "openvino":
                raise RequestError(f"runtime: openvino runs on the CPU, not on {target}")
            return cls(checkpoint, process, model, target, "eager")
        try:
            compiled = CompiledModel(model, torch.get_num_threads())
        except ImportError as error:
            if runtime == "openvino":
                raise RequestError("runtime: openvino is not installed; use eager") from error
            return cls(checkpoint, process, model, target, "eager")
        return cls(checkpoint, process, compiled, target, "openvino")


@dataclass(frozen=True)
class Request:
    """Which samples, and how; None means the default that `diffusion.spacing` gives."""

    seed: int
    n: int
    first_index: int = 0
    labels: list[int] | None = None
    sampler: SamplerName = "ddpm"
    num_steps: int | None = None
    eta: float = 0.0
    variance: Variance | None = None
    guidance: float = 0.0

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, labels: list[int] | None) -> Self:
        """From what `add_arguments` parsed."""
        return cls(
            args.seed, args.n, args.first_index, labels, args.sampler, args.steps, args.eta,
            args.variance, args.guidance,
        )  # fmt: skip

    def table(self, process: Process, trained: Variance) -> SamplerTable:
        """The sampler asked for. Raises ValueError naming a field out of range."""
        T = process.num_timesteps
        steps = self.num_steps if self.num_steps is not None else default_steps(self.sampler, T)
        variance = self.variance or default_variance(trained, steps, T)
        return make_table(process, self.sampler, steps, eta=self.eta, variance=variance)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a Request, but for labels."""
    add = parser.add_argument
    add("--n", type=int, default=16, help="samples (%(default)s)")
    add("--seed", type=int, default=0, help="0 .. 2^53-1 (%(default)s)")
    add("--first-index", type=int, default=0, help="start at this sample of the seed (%(default)s)")
    add("--sampler", choices=("ddpm", "ddim", "dpmpp"), default="ddpm", help="(%(default)s)")
    add("--steps", type=int, help="kept timesteps (all for ddpm, 50 ddim, 20 dpmpp)")
    add("--eta", type=float, default=0.0, help="ddim's noise, 0..1 (%(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"), help="ddpm's sigma (checkpoint's)")
    add("--guidance", type=float, default=0.0, help="classifier-free guidance w (%(default)s)")
    add("--batch-size", type=int, default=64, help="samples at once (%(default)s)")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The flags that say where and by what the network is run."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 (%(default)s)")
    add(
        "--runtime",
        default="auto",
        choices=get_args(RuntimeName),
        help="auto: openvino, the faster on a CPU, where it is installed (%(default)s)",
    )


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises RequestError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f"device: {name!r} cannot be used: {error}") from error
    return torch.device(name)


def generate(source: Source, request: Request, batch_size: int = 64) -> Tensor:
    """x_0 (n,C,H,W) float32 on the CPU, with a progress bar over network rows."""
    num_steps = len(request.table(source.process, source.checkpoint.process.variance))
    _labels(source.checkpoint, request)  # refused before a bar is drawn
    with tqdm(total=request.n * num_steps, desc="sampling", unit="row") as bar:
        return torch.cat(list(batches(source, request, batch_size, bar.update)))


@torch.no_grad()
def batches(
    source: Source, request: Request, batch_size: int, on_rows: Callable[[int], object]
) -> Iterator[Tensor]:
    """x_0 of the samples, (B,C,H,W) float32 on the CPU, a batch at a time; after each network call
    `on_rows` is told how many rows it had."""
    checkpoint = source.checkpoint
    table = request.table(source.process, checkpoint.process.variance)
    labels = _labels(checkpoint, request)
    shape, clip = checkpoint.unet.image_shape, checkpoint.process.clip
    for start in range(0, request.n, batch_size):
        stop = min(start + batch_size, request.n)
        indices = torch.arange(start, stop, device=source.device) + request.first_index
        label = None if labels is None else labels[start:stop].to(source.device)
        condition = Conditioning(label, request.guidance, checkpoint.card.null_label)
        seeds = torch.full_like(indices, request.seed)
        for state in sample(source.model, table, seeds, indices, shape, condition, clip):
            on_rows((stop - start) * (state.t > 0))
        yield state.x_t.cpu()


def _labels(checkpoint: Checkpoint, request: Request) -> Tensor | None:
    """(n,) int64: the labels asked for, or the null label; None for unconditional models."""
    count = len(checkpoint.classes)
    null_label = checkpoint.card.null_label
    if request.guidance and (request.labels is None or null_label is None):
        raise RequestError("guidance: needs labels, and a model trained with label dropout")
    if request.labels is None:
        if not count:
            return None
        if null_label is None:
            raise RequestError("labels: this model was not trained without labels; name one")
        return torch.full((request.n,), null_label)
    if not count:
        raise RequestError("labels: this model is unconditional")
    if len(request.labels) not in (1, request.n):
        raise RequestError(f"labels: {len(request.labels)} given; it must be one, or {request.n}")
    wrong = [label for label in request.labels if not 0 <= label < count]
    if wrong:
        raise RequestError(f"labels: {wrong[0]} is not allowed; it must be 0..{count - 1}")
    return torch.tensor(request.labels).expand(request.n)
