"""What `ddpm evaluate` measures: the bound, and how far samples are from the data.

The work is done in parts, each written to the report's folder when it is finished, so that the same
command continues where it stopped. All numbers but times follow from checkpoint, data and settings.
"""

import json
import platform
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion import __version__
from diffusion.evaluation.caveats import caveats
from diffusion.evaluation.copies import Changes, copies
from diffusion.evaluation.frechet import DistanceTo, moments
from diffusion.evaluation.likelihood import measure_bounds, measure_likelihood
from diffusion.evaluation.neighbours import Manifold
from diffusion.evaluation.plan import Evaluation
from diffusion.evaluation.precisions import compare, make_others
from diffusion.evaluation.quality import Reference, measure_floor, quality, sample_grid
from diffusion.evaluation.samples import draw, extract

Array = np.ndarray


def run(evaluation: Evaluation) -> dict[str, Any]:
    """Measure everything: the report in JSON types, but for `grids`, uint8 (H,W,C) by name."""
    settings = evaluation.settings
    # What runs the network, counted in rows
    with tqdm(total=evaluation.rows, desc="evaluating", unit="row") as bar:
        bounds = measure_bounds(evaluation, bar)
        likelihood, progressive = measure_likelihood(evaluation, bounds, bar)
        made = {s: draw(evaluation, s, bar) for s in settings.samplers}
        others = make_others(evaluation, bar)
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
    changes = Changes.of_training(evaluation.source.checkpoint.card.trained.get("config", {}))
    near, grids["nearest"] = copies(first.pixels, evaluation.train.pixels, test, changes)
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
    if others is not None:
        report["precisions"] = {"bfloat16": compare(evaluation, first, bounds, others, real)}
    return {**report, "warnings": caveats(report), "grids": grids}


def _origin(evaluation: Evaluation) -> dict[str, Any]:
    """What the numbers are of, and where, when and with what they were made."""
    source = evaluation.source
    return {
        "checkpoint": source.checkpoint.name,
        "sha256": source.checkpoint.sha256,
        "source": source.checkpoint.source,
        "revision": source.checkpoint.revision,
        "version": __version__,
        "date": _date(evaluation),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{source.device}, {source.runtime}, {source.precision}",
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
