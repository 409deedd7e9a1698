"""From a checkpoint and a request to images, in this process: what `ddpm sample` runs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.bfloat16 import in_bfloat16
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.config import Precision, PrecisionName, RuntimeName, Variance
from diffusion.devices import pick_device, torch_threads, total_memory
from diffusion.editing import Mask, Samples, Start, Wanted, begin
from diffusion.guidance import Conditioning, Model
from diffusion.labels import MAX_GUIDANCE, Labels, check_interval
from diffusion.openvino.model import CompiledModel
from diffusion.precision import choose_precision
from diffusion.process import Process
from diffusion.repaint import repaint
from diffusion.reverse import sample
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import make_table
from diffusion.schedules import has_zero_snr, make_beta
from diffusion.spacing import (
    SamplerName,
    Spacing,
    SpacingName,
    check_chain,
    check_sampler,
    default_steps,
    default_variance,
    kept_timesteps,
)
from diffusion.tuned import Tuned, tuned_list

MAX_INTEGER = 2**53 - 1
"""The largest seed and index: those of the HTTP API, whose images are the same."""
SAMPLE_BYTES = 10
"""In memory for each number of an image: float32, float32 once more as batches are joined, and two
bytes as a picture."""


class RequestError(ValueError):
    """A request does not fit the checkpoint; the message names the field."""


@dataclass(frozen=True)
class Source:
    """A checkpoint that is loaded and ready to sample from.

    `model` gives eps_hat, whatever the network was trained to predict.
    """

    checkpoint: Checkpoint
    process: Process
    model: Model
    device: torch.device
    runtime: Literal["openvino", "eager"]
    precision: Precision = "float32"

    @classmethod
    def open(
        cls,
        source: str | Path,
        device: str = "auto",
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
        cache: str | None = None,
    ) -> Self:
        """Load the checkpoint in a folder, or of a built-in name. `cache` is that of `of`.

        Raises CheckpointError, DeviceError, or RequestError where the runtime cannot be had.
        """
        return cls.of(open_checkpoint(source), device, runtime, precision, cache)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        device: str,
        runtime: RuntimeName,
        precision: PrecisionName = "auto",
        cache: str | None = None,
    ) -> Self:
        """Load a checkpoint whose folder has been read. `cache` is the folder for compiled
        networks, as CompiledModel takes it.

        Raises CheckpointError, DeviceError, or RequestError where the runtime cannot be had.
        """
        target = pick_device(device)
        process = Process.from_config(checkpoint.process)
        chosen = choose_precision(precision, checkpoint.card, target).precision
        model = checkpoint.eps_model(target)
        if runtime != "eager" and target.type == "cpu":
            try:
                compiled = CompiledModel(model, torch.get_num_threads(), chosen, cache)
            except ImportError as error:
                if runtime == "openvino":
                    raise RequestError(
                        "runtime: openvino is not installed; use eager, or install the extra "
                        "`openvino`"
                    ) from error
            else:
                return cls(checkpoint, process, compiled, target, "openvino", compiled.precision)
        elif runtime == "openvino":
            raise RequestError(f"runtime: openvino runs on the CPU, not on {target}; use eager")
        eager = in_bfloat16(model) if chosen == "bfloat16" else model
        return cls(checkpoint, process, eager, target, "eager", chosen)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have PyTorch use one thread meanwhile, where the network is OpenVINO's.

        After each of its small operations PyTorch's other threads look for more to do, for
        milliseconds, on the processors that OpenVINO's threads need: on two cores a step of DDPM
        with four rows took twice as long.
        """
        threads = 1 if self.runtime == "openvino" else torch.get_num_threads()
        with torch_threads(threads):
            yield


@dataclass(frozen=True)
class Request:
    """Which samples are wanted, and how they are to be made.

    None means a default: no label, and what `diffusion.spacing` gives for steps and variance.
    """

    seed: int  # 0 .. 2^53-1, as over HTTP
    n: int  # samples
    first_index: int = 0  # among those of the seed: sample i of a seed is always the same
    labels: list[int] | None = None  # one for all, or one for each
    sampler: SamplerName = "ddpm"
    num_steps: int | None = None
    spacing: SpacingName | tuple[int, ...] = "even"  # or the paper's t of each step, from T on
    eta: float = 0.0  # of ddim
    variance: Variance | None = None  # of ddpm
    guidance: float = 0.0  # strength w; 0: none
    guidance_interval: tuple[int, int] | None = None  # guided from t_high to t_low, the paper's t
    start: Start | None = None  # where chains begin; None: at noise
    mask: Mask | None = None  # which part of the start's picture is kept

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise RequestError, LabelError or StartError, which name the field, where this asks for
        what `checkpoint`, or the sampler, does not have."""
        try:
            check_sampler(self.sampler, zero_snr=has_zero_snr(checkpoint.process))
        except ValueError as error:
            raise _refused("sampler", self.sampler, str(error)) from None
        _between("n", self.n, 1, MAX_INTEGER)
        _between("seed", self.seed, 0, MAX_INTEGER)
        _between("first_index", self.first_index, 0, MAX_INTEGER - self.n + 1)
        self._check_steps(checkpoint)
        _between("eta", self.eta, 0, 1)
        _between("guidance", self.guidance, 0, MAX_GUIDANCE)
        for name, value, owner in (("eta", self.eta, "ddim"), ("variance", self.variance, "ddpm")):
            if value and self.sampler != owner:
                raise _refused(name, value, f"it applies to {owner}, not to {self.sampler}")
        network_labels(checkpoint, self.labels, self.n, self.guidance)
        self._check_start(checkpoint)
        self._check_chain(checkpoint)
        if self.guidance_interval is not None:
            T = checkpoint.process.num_timesteps
            check_interval(self.guidance_interval, self.guidance, T)

    def _check_steps(self, checkpoint: Checkpoint) -> None:
        T = checkpoint.process.num_timesteps
        if self.num_steps is not None:
            _between("steps", self.num_steps, 1, T)
            if not isinstance(self.spacing, str):
                reason = "spacing is a list of the timesteps, so leave steps out"
                raise _refused("steps", self.num_steps, reason)
        try:
            if self.spacing == "tuned":
                steps = self.num_steps or default_steps(self.sampler, T)
                tuned_list(checkpoint.card.tuned, self.sampler, steps)
            elif not isinstance(self.spacing, str):
                Spacing.of_paper_t(self.spacing, T)
        except ValueError as error:
            raise _refused("spacing", self.spacing, str(error)) from None

    def _check_start(self, checkpoint: Checkpoint) -> None:
        wanted = Wanted(
            self.n,
            checkpoint.unet.image_shape,
            checkpoint.process.num_timesteps,
            is_deterministic=self.sampler != "ddpm" and self.eta == 0,
            has_mask=self.mask is not None,
        )
        if self.start is not None:
            self.start.check(wanted)
        if self.mask is not None:
            self.mask.check(self.start, self.sampler, wanted)

    def _check_chain(self, checkpoint: Checkpoint) -> None:
        least = checkpoint.unet.min_timestep
        if least == 0 and self.start is None:
            return
        alpha_bar = torch.cumprod(1 - make_beta(checkpoint.process), dim=0).tolist()
        spacing = self._kept(alpha_bar, checkpoint.card.tuned)
        try:
            check_chain(spacing, least)
        except ValueError as error:
            raise _refused("spacing", self.spacing, str(error)) from None
        if self.start is not None:
            spacing = self.start.spacing(spacing)
        if self.mask is not None:
            self.mask.check_steps(len(spacing))

    def _kept(self, alpha_bar: list[float], tuned: Tuned) -> Spacing:
        """The timesteps that a chain from T on keeps."""
        return kept_timesteps(self.spacing, self.num_steps, self.sampler, alpha_bar, tuned)

    def table(self, process: Process, trained: Variance, tuned: Tuned) -> SamplerTable:
        """Make the sampler asked for; `trained` is the checkpoint's variance, `tuned` the lists on
        its card.

        Raises ValueError naming the field that is out of range.
        """
        spacing = self._kept(process.alpha_bar.tolist(), tuned)
        variance = self.variance or default_variance(trained, len(spacing), process.num_timesteps)
        if self.start is not None:
            spacing = self.start.spacing(spacing)
        table = make_table(process, self.sampler, spacing, eta=self.eta, variance=variance)
        if self.mask is None:
            return table
        return repaint(table, process, self.mask.resamplings, self.mask.jump)


def generate(source: Source, request: Request, batch_size: int = 64) -> Tensor:
    """Make all samples of a request, with a progress bar: x_0 (n,C,H,W) float32 on the CPU.

    Raises RequestError or LabelError where the request does not fit the checkpoint.
    """
    request.check(source.checkpoint)  # refused before a bar is drawn
    checkpoint = source.checkpoint
    table = request.table(source.process, checkpoint.process.variance, checkpoint.card.tuned)
    with tqdm(total=request.n * len(table), desc="sampling", unit="row") as bar:
        return torch.cat(list(batches(source, request, batch_size, bar.update)))


def check_memory(n: int, checkpoint: Checkpoint) -> None:
    """Raise RequestError, which says how many can be, where `n` samples cannot be held at once."""
    memory = total_memory(torch.device("cpu"))
    most = (memory or MAX_INTEGER) // (math.prod(checkpoint.unet.image_shape) * SAMPLE_BYTES)
    if n > most:
        raise _refused(
            "n", n, f"the memory holds at most {most} images of this model; make them in parts, "
            "with --first-index"
        )  # fmt: skip


@torch.no_grad()
def batches(
    source: Source, request: Request, batch_size: int, on_rows: Callable[[int], object]
) -> Iterator[Tensor]:
    """Make the samples of a request, a batch at a time: yield x_0 (B,C,H,W) float32 on the CPU.

    After each step `on_rows` is told how many rows of the network it took, for a progress bar.
    Raises LabelError where labels or guidance do not fit the checkpoint.
    """
    checkpoint = source.checkpoint
    table = request.table(source.process, checkpoint.process.variance, checkpoint.card.tuned)
    labels = network_labels(checkpoint, request.labels, request.n, request.guidance)
    shape, clip = checkpoint.unet.image_shape, checkpoint.process.clip
    interval = request.guidance_interval
    steps = None if interval is None else table.steps_within(*interval)
    for first in range(0, request.n, batch_size):
        stop = min(first + batch_size, request.n)
        indices = torch.arange(first, stop, device=source.device) + request.first_index
        label = None if labels is None else labels[first:stop].to(source.device)
        condition = Conditioning(label, request.guidance, checkpoint.card.null_label, steps)
        seeds = torch.full_like(indices, request.seed)
        if request.start is not None and request.start.shares_noise:
            indices = torch.zeros_like(indices)
        samples = Samples(slice(first, stop), seeds, indices)
        begun = begin(request.start, request.mask, source.process, int(table.t[0]), samples)
        with source.at_work():
            for state in sample(
                source.model, table, seeds, indices, shape, condition, clip, *begun
            ):
                on_rows((stop - first) * (state.t > 0))
        yield state.x_t.cpu()


def network_labels(
    checkpoint: Checkpoint, labels: list[int] | None, n: int, guidance: float = 0.0
) -> Tensor | None:
    """Return what the network is told for each of n images, (n,) int64: `labels` has one for all,
    or n of them; None for unconditional models. Raises LabelError."""
    known = Labels(len(checkpoint.classes), checkpoint.card.null_label)
    match labels:
        case [one_for_all]:
            each = known.for_each(one_for_all, n, guidance)
        case _:
            each = known.for_each(labels, n, guidance)
    told = known.for_network(each)
    return None if told is None else torch.tensor(told)


def _between(name: str, value: float, least: int, most: int) -> None:
    """Raise RequestError unless least <= value <= most; NaN is not."""
    if not least <= value <= most:
        raise _refused(name, value, f"it must be {least}..{most}")


def _refused(name: str, value: object, reason: str) -> RequestError:
    return RequestError(f"{name}: {value!r} is not allowed: {reason}")
