"""What `ddpm evaluate` measures: the bound, and how far samples are from the data.

The work is done in parts, each written to the report's folder when it is finished, so that the same
command continues where it stopped. All numbers but times follow from checkpoint, data and settings.
"""

import json
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import __version__, pixels
from diffusion.evaluation.caveats import caveats
from diffusion.evaluation.features import Features
from diffusion.evaluation.frechet import DistanceTo, moments
from diffusion.evaluation.likelihood import measure_likelihood
from diffusion.evaluation.neighbours import Manifold
from diffusion.evaluation.plan import Evaluation, Sampler
from diffusion.evaluation.quality import (
    Reference,
    Samples,
    measure_floor,
    memorisation,
    quality,
    sample_grid,
)
from diffusion.sampling import Request, Source, batches

Array = np.ndarray
FEATURES_PART = 1000
"""How many images' features are computed and stored together."""


def run(evaluation: Evaluation) -> dict[str, Any]:
    """Measure everything: the report in JSON types, but for `grids`, uint8 (H,W,C) by name."""
    settings = evaluation.settings
    # What runs the network, counted in rows
    with tqdm(total=evaluation.rows, desc="evaluating", unit="row") as bar:
        likelihood, progressive = measure_likelihood(evaluation, bar)
        made = {s: draw(evaluation, s, bar) for s in settings.samplers}
    # Distances, beside those of real images
    real, floor = _compare_real(evaluation)
    rows, grids = [], {"progressive": progressive}
    for sampler, samples in tqdm(made.items(), desc="comparing", unit="sampler", leave=False):
        features = torch.cat(list(extract(evaluation, sampler.file_name, samples.pixels)))
        measured = quality(evaluation.classifier, samples, features, real, settings.seed)
        rows.append({"sampler": str(sampler), **measured})
        grids[str(sampler)] = sample_grid(samples)
    first = next(iter(made.values()))
    test = None if evaluation.test is None else evaluation.test.pixels
    near, grids["nearest"] = memorisation(first.pixels, evaluation.train.pixels, test)
    report: dict[str, Any] = {
        **_origin(evaluation),
        **likelihood,
        "features": evaluation.features.name,
        "dimensions": real.distance.reference.mean.numel(),
        "classifier": _accuracy(evaluation),
        "floor": {**floor, "labels": _label_mix(evaluation)},
        "samplers": rows,
        "nearest": near,
    }
    return {**report, "warnings": caveats(report), "grids": grids}


def _origin(evaluation: Evaluation) -> dict[str, Any]:
    """What the numbers are of, and where, when and with what they were made."""
    source = evaluation.source
    return {
        "checkpoint": source.checkpoint.name,
        "sha256": source.checkpoint.sha256,
        "version": __version__,
        "date": _date(evaluation),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{source.device}, {source.runtime}",
        "settings": evaluation.settings.key(),
        "data": {name: len(images) for name, images in evaluation.splits.items()},
        "classes": _class_names(evaluation),
    }


def _compare_real(evaluation: Evaluation) -> tuple[Reference, dict[str, Any]]:
    """The reference for all samples, and the floor."""
    reference, draws = evaluation.real
    images, count = evaluation.train.pixels, evaluation.settings.num_samples
    parts = extract(evaluation, "real", images, reference)
    some: list[Tensor] = []  # the first so many, kept; the whole half may not fit in memory
    distance = DistanceTo(moments(_keep(parts, some, count)))
    real = Reference(distance, Manifold(torch.cat(some)))
    # Each image's features once, however many sets it is in
    drawn = torch.cat(draws.indices).unique()
    features = torch.cat(list(extract(evaluation, "floor", images, drawn)))
    sets = [features[torch.searchsorted(drawn, which)] for which in draws.indices]
    return real, measure_floor(real, draws, sets)


def _keep(parts: Iterable[Tensor], kept: list[Tensor], count: int) -> Iterator[Tensor]:
    """Yield the parts, and put their first `count` rows into `kept`."""
    for part in parts:
        kept.append(part[: max(count - sum(map(len, kept)), 0)])
        yield part


def _class_names(evaluation: Evaluation) -> list[str]:
    """The names of the model's labels: its card's, else the data's, else numbers."""
    checkpoint, names = evaluation.source.checkpoint, evaluation.train.classes
    count = len(checkpoint.classes)
    return list(checkpoint.classes if checkpoint.card.classes or len(names) != count else names)


def _label_mix(evaluation: Evaluation) -> str:
    """How the labels of the real images were chosen."""
    return "data" if evaluation.real.draws.labels is None else evaluation.settings.labels


def _accuracy(evaluation: Evaluation) -> dict[str, Any] | None:
    """The classifier's accuracy on held-out images; measured once."""
    judge = evaluation.judge
    if judge is None:
        return None

    def make() -> dict[str, Array]:
        return {"json": np.array(json.dumps(judge.accuracy_on(evaluation.test)))}

    found: dict[str, Any] | None = json.loads(str(evaluation.parts.get("classifier", make)["json"]))
    return found


def _date(evaluation: Evaluation) -> str:
    """The day on which the evaluation was finished, so that a report is written again the same."""
    today = {"date": np.array(date.today().isoformat())}
    return str(evaluation.parts.get("finished", lambda: today)["date"])


def draw(evaluation: Evaluation, sampler: Sampler, bar: "tqdm[Any]") -> Samples:
    """Make `num_samples` samples with one sampler."""
    source, settings, labels = evaluation.source, evaluation.settings, evaluation.labels
    made = []
    for start in range(0, settings.num_samples, settings.batch_size):
        B = min(settings.batch_size, settings.num_samples - start)
        asked = None if labels is None else labels[start : start + B].tolist()
        request = Request(
            settings.seed, B, start, asked, sampler.name, sampler.num_steps,
            guidance=sampler.guidance, spacing=sampler.spacing,
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


def extract(
    evaluation: Evaluation, name: str, images: Tensor, index: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the features (n,D) of images uint8 (N,C,H,W), or of those at `index`, in order, a part
    at a time; the parts are stored."""
    index = torch.arange(len(images)) if index is None else index
    bar = tqdm(total=len(index), desc=f"features of {name}", unit="image", leave=False)
    with bar:
        for number, which in enumerate(index.split(FEATURES_PART)):
            make = partial(_features_part, evaluation.features, images, which)
            part = evaluation.parts.get(f"features-{name}-{number * FEATURES_PART:06d}", make)
            bar.update(len(which))
            yield torch.from_numpy(part["features"])


def _features_part(features: Features, images: Tensor, index: Tensor) -> dict[str, Array]:
    return {"features": features(images[index]).numpy()}


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
