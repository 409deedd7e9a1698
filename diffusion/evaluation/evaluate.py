"""What `ddpm evaluate` measures: the bound, and how far samples are from the data.

The work is done in parts, each written to the report's folder when it is finished, so that the same
command continues where it stopped. All numbers but times follow from checkpoint, data and settings.
"""

import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.bound import BoundTerms, Reverse, bound
from diffusion.data.readers import Images
from diffusion.evaluation.cache import EvaluationError, Parts
from diffusion.evaluation.classifier import Classifier
from diffusion.evaluation.features import Features
from diffusion.evaluation.quality import (
    Reference,
    Samples,
    choose,
    grid,
    halves,
    memorisation,
    quality,
)
from diffusion.evaluation.rate_distortion import rate_distortion, reconstructions
from diffusion.sampling import Request, Source, batches
from diffusion.spacing import SamplerName, default_steps

Array = np.ndarray
FEATURES_PART = 1000
"""How many images' features are computed and stored together."""
SHOWN_IMAGES = 10
"""How many test images are shown as a receiver sees them on the way."""
SHOWN_TIMES = (1.0, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.06, 0.03, 0.01, 0.0)
"""The states at which they are shown, as shares of the chain."""


class Sampler(NamedTuple):
    """A sampler, its number of steps and its guidance, written `ddim:50` or `ddim:50@1.5`."""

    name: SamplerName
    num_steps: int
    guidance: float = 0.0

    @classmethod
    def parse(cls, text: str, num_timesteps: int) -> "Sampler":
        """Read `ddpm`, `ddim:50` or `ddim:50@1.5`; without a number the steps are the default.

        Raises EvaluationError for anything else, or more than `num_timesteps` steps.
        """
        rest, _, guidance = text.partition("@")
        name, _, steps = rest.partition(":")
        if name not in get_args(SamplerName):
            raise EvaluationError(f"sampler: {text!r}: {name!r} is not ddpm, ddim or dpmpp")
        if steps and not (steps.isdecimal() and 1 <= int(steps) <= num_timesteps):
            raise EvaluationError(f"sampler: {text!r}: steps must be 1..{num_timesteps}")
        if guidance and not re.fullmatch(r"\d+(\.\d+)?", guidance):
            raise EvaluationError(f"sampler: {text!r}: guidance must be a number, 0 or more")
        kept = int(steps) if steps else default_steps(name, num_timesteps)  # type: ignore[arg-type]
        return cls(name, kept, float(guidance or 0))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}:{self.num_steps}" + (f"@{self.guidance:g}" if self.guidance else "")

    @property
    def file_name(self) -> str:
        """The name of files of its samples, without an ending."""
        return str(self).replace(":", "-")


@dataclass(frozen=True)
class Settings:
    """How much is measured. Raises EvaluationError for less than can be measured."""

    num_images: int  # of each split, for the bound
    num_samples: int  # made with each sampler
    samplers: tuple[Sampler, ...]
    seed: int = 0
    batch_size: int = 64
    num_terms: int | None = None  # of the bound, computed for each image; None: all

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("images", self.num_images, 1),
            ("samples", self.num_samples, 2),  # a covariance needs two
            ("batch-size", self.batch_size, 1),
            ("terms", self.num_terms or 2, 2),  # the decoder's, and one more of the chain
        ):
            if value < least:
                raise EvaluationError(f"{flag}: {value} is not allowed; it must be {least} or more")

    def key(self) -> dict[str, Any]:
        """Return all of them in JSON types: what tells one evaluation from another."""
        return {**asdict(self), "samplers": [str(sampler) for sampler in self.samplers]}

    def flags(self) -> str:
        """Return the flags that give `ddpm evaluate` these settings."""
        terms = "" if self.num_terms is None else f"--terms {self.num_terms} "
        return (
            f"--images {self.num_images} {terms}--samples {self.num_samples} --seed {self.seed} "
            f"--batch-size {self.batch_size} --sampler {' '.join(map(str, self.samplers))}"
        )


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint, the data that it is compared with, and the parts that are finished."""

    source: Source
    train: Images
    test: Images
    classifier: Classifier
    features: Features
    settings: Settings
    parts: Parts

    @property
    def reverse(self) -> Reverse:
        """The reverse process p, as the bound takes it."""
        process = self.source.checkpoint.process
        return Reverse(self.source.model, self.source.process, process.variance, process.clip)

    def images(self, of: Images, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x_0 (B,C,H,W) and labels (B,) of the images at `index`, on the device.

        The labels are None for unconditional models, and for data without them.
        """
        device = self.source.device
        label = None
        if self.source.checkpoint.classes and of.labels is not None:
            label = of.labels[index].to(device)
        return pixels.to_model(of.pixels[index]).to(device), label

    @property
    def rows(self) -> int:
        """Rows of the network in the whole evaluation, an image in a step each: for the progress
        bar."""
        settings = self.settings
        splits = sum(min(settings.num_images, len(images)) for images in (self.train, self.test))
        steps = sum(sampler.num_steps for sampler in settings.samplers)
        return splits * self.num_terms + settings.num_samples * steps

    @property
    def num_terms(self) -> int:
        """Terms of the bound computed for each image: as set, but at most one for each step."""
        T = self.source.process.num_timesteps
        return min(self.settings.num_terms or T, T)


def run(evaluation: Evaluation) -> dict[str, Any]:
    """Measure everything: the report in JSON types, but for `grids`, uint8 (H,W,C) by name.

    Raises EvaluationError for guidance where the model has no null label.
    """
    settings, grids = evaluation.settings, {}
    for s in settings.samplers:
        if s.guidance and evaluation.source.checkpoint.card.null_label is None:
            raise EvaluationError(
                f"sampler: {str(s)!r}: the model has no null label, which guidance needs"
            )
    with tqdm(total=evaluation.rows, desc="evaluating", unit="row") as bar:
        bounds = {
            name: measure_bound(evaluation, name, images, bar)
            for name, images in (("train", evaluation.train), ("test", evaluation.test))
        }
        made = {s: draw(evaluation, s, bar) for s in settings.samplers}
        decoded, grids["progressive"] = decoding(evaluation)
    half, other = halves(evaluation.train.pixels, settings.num_samples, settings.seed)
    real = Reference.of(extract(evaluation, "real", half), extract(evaluation, "floor", other))
    rows = []
    for sampler, samples in made.items():
        features = extract(evaluation, sampler.file_name, samples.pixels)
        measured = quality(evaluation.classifier, samples, features, real)
        rows.append({"sampler": str(sampler), **measured})
        grids[str(sampler)] = grid(samples.pixels[:100], 10)
    first = next(iter(made.values()), None)
    report: dict[str, Any] = {
        "checkpoint": evaluation.source.checkpoint.name,
        "sha256": evaluation.source.checkpoint.sha256,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{evaluation.source.device}, {evaluation.source.runtime}",
        "settings": settings.key(),
        "bound": {name: summary(terms) for name, terms in bounds.items()},
        "by_timestep": by_timestep(bounds["test"]),
        "progressive": decoded,
        "features": evaluation.features.name,
        "floor": {"images": real.num_floor, "frechet": real.floor},
        "samplers": rows,
    }
    if first is not None:
        report["nearest"], grids["nearest"] = memorisation(
            first.pixels, evaluation.train.pixels, evaluation.test.pixels
        )
    return {**report, "grids": grids}


# The bound


def measure_bound(
    evaluation: Evaluation, split: str, images: Images, bar: "tqdm[Any]"
) -> BoundTerms:
    """Compute the bound of `num_images` of a split, chosen at random, given their labels."""
    settings, terms = evaluation.settings, evaluation.num_terms
    chosen = choose(len(images), settings.num_images, settings.seed)
    made = []
    for start in range(0, len(chosen), settings.batch_size):
        index = chosen[start : start + settings.batch_size]
        make = partial(_bound_part, evaluation, images, index, start, bar)
        name = f"bound-{split}-{start:06d}"
        made.append(_counted(evaluation, name, make, bar, len(index) * terms))
    columns = {name: torch.from_numpy(np.concatenate([m[name] for m in made])) for name in made[0]}
    return BoundTerms(**columns, num_dims=images.pixels[0].numel())


def _bound_part(
    evaluation: Evaluation, images: Images, index: Tensor, start: int, bar: "tqdm[Any]"
) -> dict[str, Array]:
    """Arrays of the bound of the images `index`: those chosen from number `start` on."""
    x_0, label = evaluation.images(images, index)
    terms = bound(
        evaluation.reverse, x_0, label, seed=evaluation.settings.seed, first_index=start,
        num_terms=evaluation.num_terms, on_step=lambda: bar.update(len(index)),
    )  # fmt: skip
    names = ("prior", "per_step", "x_0_mse", "eps_mse")
    return {name: getattr(terms, name).cpu().numpy() for name in names}


def summary(terms: BoundTerms) -> dict[str, Any]:
    """Return the means over the images, in bits/dim, with the standard error of the total."""
    bits = terms.bits_per_dim()
    n = len(bits.total)
    return {
        "images": n,
        "total": bits.total.mean().item(),
        "standard_error": bits.total.std().item() / n**0.5 if n > 1 else None,
        "prior": bits.prior.mean().item(),
        "denoising": bits.denoising.mean().item(),
        "decoder": bits.decoder.mean().item(),
    }


def by_timestep(terms: BoundTerms) -> dict[str, list[float]]:
    """Return the means over the images at each t, in order of the paper's t = 1..T.

    The terms and the rate are in bits/dim, `rmse` on the 0..255 scale.
    """
    code = rate_distortion(terms)
    return {
        "bits_per_dim": terms.bits_per_dim().per_step.mean(dim=0).tolist(),
        "rate": code.rate.tolist(),
        "rmse": code.rmse.tolist(),
        "eps_mse": terms.eps_mse.mean(dim=0).tolist(),
    }


def decoding(evaluation: Evaluation) -> tuple[list[dict[str, float]], Array]:
    """Decode test images from x_t at the SHOWN_TIMES, as a receiver of the code sees them.

    Returns the error of each t, and a picture: a row for each image, from noisy to clean, and last
    the image itself.
    """
    source, settings, test = evaluation.source, evaluation.settings, evaluation.test
    chosen = choose(len(test), min(settings.num_images, SHOWN_IMAGES), settings.seed)
    last = source.process.num_timesteps - 1
    times = list(dict.fromkeys(round(share * last) for share in SHOWN_TIMES))
    x_0, label = evaluation.images(test, chosen)
    made = reconstructions(evaluation.reverse, x_0, times, label, seed=settings.seed)
    error = 127.5 * (made - x_0).square().mean(dim=(1, 2, 3, 4)).sqrt()
    numbers = [{"t": t + 1, "rmse": rmse} for t, rmse in zip(times, error.tolist(), strict=True)]
    rows = torch.cat([made, x_0[None].double()]).swapaxes(0, 1).flatten(0, 1).cpu()
    return numbers, pixels.tile(pixels.to_uint8(rows.numpy()), len(times) + 1)


# Samples


def draw(evaluation: Evaluation, sampler: Sampler, bar: "tqdm[Any]") -> Samples:
    """Make `num_samples` samples, their labels going round all classes."""
    source, settings = evaluation.source, evaluation.settings
    count = len(source.checkpoint.classes)
    labels = torch.arange(settings.num_samples) % count if count else None
    made = []
    for start in range(0, settings.num_samples, settings.batch_size):
        B = min(settings.batch_size, settings.num_samples - start)
        asked = None if labels is None else labels[start : start + B].tolist()
        request = Request(
            settings.seed, B, start, asked, sampler.name, sampler.num_steps,
            guidance=sampler.guidance,
        )  # fmt: skip
        make = partial(_samples_part, source, request, bar)
        name = f"samples-{sampler.file_name}-{start:06d}"
        made.append(_counted(evaluation, name, make, bar, B * sampler.num_steps))
    images = torch.from_numpy(np.concatenate([part["images"] for part in made]))
    return Samples(
        images, labels, float(sum(part["seconds"] for part in made)), _processor_seconds(made)
    )


def _processor_seconds(parts: Sequence[Mapping[str, Array]]) -> float | None:
    """The sum over all parts; None where one was made by a version that did not measure it."""
    if not all("processor_seconds" in part for part in parts):
        return None
    return float(sum(part["processor_seconds"] for part in parts))


def extract(evaluation: Evaluation, name: str, images: Tensor) -> Tensor:
    """Compute the features (N,D) of images uint8 (N,C,H,W), in parts that are stored."""
    made = []
    bar = tqdm(total=len(images), desc=f"features of {name}", unit="image", leave=False)
    with bar:
        for start in range(0, len(images), FEATURES_PART):
            chosen = images[start : start + FEATURES_PART]
            make = partial(_features_part, evaluation.features, chosen)
            made.append(evaluation.parts.get(f"features-{name}-{start:06d}", make)["features"])
            bar.update(len(chosen))
    return torch.from_numpy(np.concatenate(made))


def _features_part(features: Features, images: Tensor) -> dict[str, Array]:
    return {"features": features(images).numpy()}


def _samples_part(source: Source, request: Request, bar: "tqdm[Any]") -> dict[str, Array]:
    """One batch of samples, and what it took: seconds elapsed, and of the processor."""
    # Elapsed time includes what other processes did meanwhile, and any pause of this one; the
    # processor's, over all threads of this process, does not, but leaves out a GPU's work.
    started, used = time.monotonic(), time.process_time()
    (x_0,) = batches(source, request, request.n, bar.update)
    images = np.moveaxis(pixels.to_uint8(x_0.numpy()), -1, -3)
    return {
        "images": images,
        "seconds": np.array(time.monotonic() - started),
        "processor_seconds": np.array(time.process_time() - used),
    }


def _counted(
    evaluation: Evaluation,
    name: str,
    make: Callable[[], Mapping[str, Array]],
    bar: "tqdm[Any]",
    rows: int,
) -> dict[str, Array]:
    """Get a part; where it is finished already, `bar` moves on by its `rows`, which then do not
    count as speed."""
    before = bar.n
    part = evaluation.parts.get(name, make)
    if bar.n == before:
        bar.initial += rows
        bar.update(rows)
    return part
