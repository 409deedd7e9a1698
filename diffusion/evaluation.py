"""What `ddpm evaluate` measures: the bound, and samples' distances to the data. Resumable.

The work is done in parts, each written to the report's folder when it is finished; the same command
goes on where it stopped. Everything is a function of (checkpoint, data, settings).
"""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import distances, pixels
from diffusion.batches import generator_at
from diffusion.bound import BoundTerms, Reverse, bound, rate_distortion
from diffusion.chain import SamplerName, default_steps
from diffusion.data import Images
from diffusion.distances import Moments, frechet_distance, precision_recall
from diffusion.generation import Request, Source, batches
from diffusion.parts import EvaluationError, Parts
from diffusion.recognition import Classifier, measure

Array = np.ndarray
NEIGHBOURS = 50
"""Samples that are shown beside their nearest training image."""
COLUMNS = 25


class Sampler(NamedTuple):
    """A sampler and its kept timesteps, written `ddim:50`."""

    name: SamplerName
    num_steps: int

    @classmethod
    def parse(cls, text: str, num_timesteps: int) -> "Sampler":
        """`ddpm`, `ddim:50`, `dpmpp:20`; the sampler's default without a number."""
        name, _, steps = text.partition(":")
        if name not in get_args(SamplerName):
            raise EvaluationError(f"sampler: {text!r}: {name!r} is not ddpm, ddim or dpmpp")
        if not steps:
            return cls(name, default_steps(name, num_timesteps))  # type: ignore[arg-type]
        if not steps.isdecimal() or not 1 <= int(steps) <= num_timesteps:
            raise EvaluationError(f"sampler: {text!r}: steps must be 1..{num_timesteps}")
        return cls(name, int(steps))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}:{self.num_steps}"


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    num_images: int  # of each split, for the bound
    num_samples: int  # by each sampler
    samplers: tuple[Sampler, ...]
    seed: int = 0
    batch_size: int = 64

    def key(self) -> dict[str, Any]:
        """In JSON types."""
        return {**asdict(self), "samplers": [str(sampler) for sampler in self.samplers]}

    def flags(self) -> str:
        """As they are given to `ddpm evaluate`."""
        return (
            f"--images {self.num_images} --samples {self.num_samples} --seed {self.seed} "
            f"--batch-size {self.batch_size} --sampler {' '.join(map(str, self.samplers))}"
        )


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint, the data that it is compared with, and the parts made so far."""

    source: Source
    train: Images
    test: Images
    classifier: Classifier
    settings: Settings
    parts: Parts

    @property
    def rows(self) -> int:
        """Network rows over the whole evaluation, for the progress bar."""
        settings = self.settings
        splits = sum(min(settings.num_images, len(images)) for images in (self.train, self.test))
        steps = sum(sampler.num_steps for sampler in settings.samplers)
        return splits * self.source.process.num_timesteps + settings.num_samples * steps


@dataclass(frozen=True)
class Samples:
    """Images uint8 (N,C,H,W) of one sampler, the labels asked for (N,), the seconds they took."""

    pixels: Tensor
    labels: Tensor | None
    seconds: float


def run(evaluation: Evaluation) -> dict[str, Any]:
    """The whole report in JSON types, but for `grids`: arrays uint8 (H,W,C) by name."""
    settings, grids = evaluation.settings, {}
    with tqdm(total=evaluation.rows, desc="evaluating", unit="row") as bar:
        bounds = {
            name: measure_bound(evaluation, name, images, bar)
            for name, images in (("train", evaluation.train), ("test", evaluation.test))
        }
        made = {str(s): draw(evaluation, s, bar) for s in settings.samplers}
    real = Reference.split(evaluation)
    rows = []
    for name, samples in made.items():
        rows.append({"sampler": name, **quality(evaluation, samples, real)})
        grids[name] = _grid(samples.pixels[:100], 10)
    first = next(iter(made.values()), None)
    report: dict[str, Any] = {
        "checkpoint": evaluation.source.checkpoint.name,
        "sha256": evaluation.source.checkpoint.sha256,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{evaluation.source.device}",
        "settings": settings.key(),
        "bound": {name: summary(terms) for name, terms in bounds.items()},
        "by_timestep": by_timestep(bounds["test"]),
        "features": "the classifier's last layer before the head",
        "floor": {"images": real.num_floor, "frechet": real.floor},
        "samplers": rows,
    }
    if first is not None:
        report["nearest"], grids["nearest"] = memorisation(evaluation, first)
    return {**report, "grids": grids}


# The bound


def measure_bound(
    evaluation: Evaluation, split: str, images: Images, bar: "tqdm[Any]"
) -> BoundTerms:
    """Every term for `num_images` of a split, chosen at random, given their labels."""
    source, settings = evaluation.source, evaluation.settings
    process = source.checkpoint.process
    reverse = Reverse(source.model, source.process, process.variance, process.clip)
    chosen = _choose(len(images), settings.num_images, settings.seed)
    made = []
    for start in range(0, len(chosen), settings.batch_size):
        index = chosen[start : start + settings.batch_size]
        make = partial(_bound_part, evaluation, reverse, images, index, start, bar)
        rows = len(index) * source.process.num_timesteps
        made.append(_counted(evaluation, f"bound-{split}-{start:06d}", make, bar, rows))
    columns = {name: torch.from_numpy(np.concatenate([m[name] for m in made])) for name in made[0]}
    return BoundTerms(**columns, num_dims=images.pixels[0].numel())


def _bound_part(
    evaluation: Evaluation,
    reverse: Reverse,
    images: Images,
    index: Tensor,
    start: int,
    bar: "tqdm[Any]",
) -> dict[str, Array]:
    """The terms of images `index`, the `start`-th and following of those chosen."""
    source = evaluation.source
    x_0 = pixels.to_model(images.pixels[index]).to(source.device)
    label = None
    if source.checkpoint.classes and images.labels is not None:
        label = images.labels[index].to(source.device)
    terms = bound(
        reverse, x_0, label, seed=evaluation.settings.seed, first_index=start,
        on_step=lambda: bar.update(len(index)),
    )  # fmt: skip
    names = ("prior", "per_step", "x_0_mse", "eps_mse")
    return {name: getattr(terms, name).cpu().numpy() for name in names}


def summary(terms: BoundTerms) -> dict[str, Any]:
    """Means over the images, in bits/dim."""
    bits = terms.bits_per_dim()
    error = bits.total.std(correction=1) / len(bits.total) ** 0.5
    return {
        "images": len(bits.total),
        "total": bits.total.mean().item(),
        "standard_error": error.item() if len(bits.total) > 1 else None,
        "prior": bits.prior.mean().item(),
        "denoising": bits.denoising.mean().item(),
        "decoder": bits.decoder.mean().item(),
    }


def by_timestep(terms: BoundTerms) -> dict[str, list[float]]:
    """Means over the images for each state, in order of the paper's t = 1..T."""
    code = rate_distortion(terms)
    return {
        "bits_per_dim": terms.bits_per_dim().per_step.mean(dim=0).tolist(),
        "rate": code.rate.tolist(),
        "rmse": code.rmse.tolist(),
        "eps_mse": terms.eps_mse.mean(dim=0).tolist(),
    }


# Samples


def draw(evaluation: Evaluation, sampler: Sampler, bar: "tqdm[Any]") -> Samples:
    """`num_samples` samples, their labels going round all classes; no guidance."""
    source, settings = evaluation.source, evaluation.settings
    count = len(source.checkpoint.classes)
    labels = torch.arange(settings.num_samples) % count if count else None
    made = []
    for start in range(0, settings.num_samples, settings.batch_size):
        B = min(settings.batch_size, settings.num_samples - start)
        asked = None if labels is None else labels[start : start + B].tolist()
        request = Request(settings.seed, B, start, asked, sampler.name, sampler.num_steps)
        make = partial(_samples_part, source, request, bar)
        name = f"samples-{sampler.name}-{sampler.num_steps}-{start:06d}"
        made.append(_counted(evaluation, name, make, bar, B * sampler.num_steps))
    images = torch.from_numpy(np.concatenate([part["images"] for part in made]))
    return Samples(images, labels, float(sum(part["seconds"] for part in made)))


def _samples_part(source: Source, request: Request, bar: "tqdm[Any]") -> dict[str, Array]:
    started = time.perf_counter()
    (x_0,) = batches(source, request, request.n, bar.update)
    images = np.moveaxis(pixels.to_uint8(x_0.numpy()), -1, -3)
    return {"images": images, "seconds": np.array(time.perf_counter() - started)}


@dataclass(frozen=True)
class Reference:
    """Features of one half of the training images, and how far as many of the other half are."""

    features: Tensor
    moments: Moments
    floor: float
    num_floor: int  # images that the floor was measured with

    @classmethod
    def split(cls, evaluation: Evaluation) -> "Reference":
        images, settings = evaluation.train.pixels, evaluation.settings
        order = _choose(len(images), len(images), settings.seed + 1)
        half = len(order) // 2
        count = min(settings.num_samples, half)
        features = features_of(evaluation.classifier, images[order[:half]])
        other = features_of(evaluation.classifier, images[order[half : half + count]])
        moments = distances.moments(features)
        floor = frechet_distance(distances.moments(other), moments)
        return cls(features, moments, floor, count)


def quality(evaluation: Evaluation, samples: Samples, real: Reference) -> dict[str, Any]:
    """Distances of one sampler's images to the training images, and its speed."""
    features = features_of(evaluation.classifier, samples.pixels)
    precision, recall = precision_recall(real.features[: len(features)], features)
    found: dict[str, Any] = {
        "images": len(features),
        "frechet": frechet_distance(distances.moments(features), real.moments),
        "precision": precision,
        "recall": recall,
        "seconds": samples.seconds,
        "images_per_second": len(features) / samples.seconds,
    }
    if samples.labels is not None:
        x_0 = pixels.to_model(samples.pixels)
        result = measure(evaluation.classifier, x_0, samples.labels)
        found["recognised"] = result.recognised / result.total
        found["recognised_by_label"] = result.by_label
    return found


def memorisation(evaluation: Evaluation, samples: Samples) -> tuple[dict[str, Any], Array]:
    """Distances (RMSE on the 0..255 scale) from samples, and from test images, to the nearest
    training image; and a grid of samples, each above its nearest."""
    train = evaluation.train.pixels.flatten(1).float()
    count = min(NEIGHBOURS, len(samples.pixels), len(evaluation.test))
    columns = min(COLUMNS, count)
    count -= count % columns
    scale = train.shape[1] ** -0.5
    found = distances.nearest(samples.pixels[:count].flatten(1).float(), train)
    held_out = evaluation.test.pixels[_choose(len(evaluation.test), count, 0)].flatten(1).float()
    usual = distances.nearest(held_out, train)
    pairs = [samples.pixels[:count], evaluation.train.pixels[found.which]]
    rows = [p[i : i + columns] for i in range(0, count, columns) for p in pairs]
    numbers = {
        "images": count,
        "samples_median": (found.distance * scale).median().item(),
        "samples_least": (found.distance * scale).min().item(),
        "test_median": (usual.distance * scale).median().item(),
        "test_least": (usual.distance * scale).min().item(),
    }
    return numbers, _grid(torch.cat(rows), columns)


@torch.no_grad()
def features_of(classifier: Classifier, images: Tensor) -> Tensor:
    """uint8 (N,C,H,W) to features (N,D)."""
    made = [
        classifier.features(pixels.to_model(part)).mean(dim=(2, 3)) for part in images.split(500)
    ]
    return torch.cat(made)


def _counted(
    evaluation: Evaluation,
    name: str,
    make: Callable[[], Mapping[str, Array]],
    bar: "tqdm[Any]",
    rows: int,
) -> dict[str, Array]:
    """A part; `bar` moves on by `rows` when it was there already, without counting as speed."""
    before = bar.n
    part = evaluation.parts.get(name, make)
    if bar.n == before:
        bar.initial += rows
        bar.update(rows)
    return part


def _choose(size: int, count: int, seed: int) -> Tensor:
    """`count` of 0..size-1 at random, at most all."""
    return torch.randperm(size, generator=generator_at(seed, 0))[:count]


def _grid(images: Tensor, columns: int) -> Array:
    return pixels.tile(np.moveaxis(images.numpy(), -3, -1), columns)
