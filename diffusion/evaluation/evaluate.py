"""What `ddpm evaluate` measures: the bound, and how far samples are from the data.

The work is done in parts, each written to the report's folder when it is finished, so that the same
command continues where it stopped. All numbers but times follow from checkpoint, data and settings.
"""

import platform
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import pixels
from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.features import Features
from diffusion.evaluation.likelihood import by_timestep, decoding, measure_bound, summary
from diffusion.evaluation.plan import Evaluation, Sampler
from diffusion.evaluation.quality import Reference, Samples, grid, halves, memorisation, quality
from diffusion.sampling import Request, Source, batches

Array = np.ndarray
FEATURES_PART = 1000
"""How many images' features are computed and stored together."""


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
    # What runs the network, counted in rows
    with tqdm(total=evaluation.rows, desc="evaluating", unit="row") as bar:
        bounds = {
            name: measure_bound(evaluation, name, images, bar)
            for name, images in (("train", evaluation.train), ("test", evaluation.test))
        }
        made = {s: draw(evaluation, s, bar) for s in settings.samplers}
        decoded, grids["progressive"] = decoding(evaluation)
    # Distances. The floor is that between two halves of the real data, each of the samples' number,
    # since a Fréchet distance depends on the sets' sizes
    half, other = halves(evaluation.train.pixels, settings.num_samples, settings.seed)
    real = Reference.of(extract(evaluation, "real", half), extract(evaluation, "floor", other))
    rows = []
    for sampler, samples in made.items():
        features = extract(evaluation, sampler.file_name, samples.pixels)
        measured = quality(evaluation.classifier, samples, features, real)
        rows.append({"sampler": str(sampler), **measured})
        grids[str(sampler)] = grid(samples.pixels[:100], 10)
    # The report
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
        made.append(evaluation.part(name, make, bar, B * sampler.num_steps))
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
