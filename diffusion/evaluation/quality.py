"""How good samples are: how far from the data, and whether recognised as their label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion import pixels
from diffusion.evaluation.classifier import Classifier, measure
from diffusion.evaluation.draws import Draws, Stream
from diffusion.evaluation.frechet import DistanceTo
from diffusion.evaluation.neighbours import Manifold, precision_recall
from diffusion.evaluation.resampling import infinite, interval, wilson
from diffusion.training.randomness import generator_at

Array = np.ndarray
GRID = 20
"""Rows and columns of a grid of samples, at most."""


@dataclass(frozen=True)
class Samples:
    """What one sampler made, and the time it took."""

    pixels: Tensor  # uint8 (N,C,H,W)
    labels: Tensor | None  # (N,) as asked for
    seconds: float  # elapsed
    processor_seconds: float | None = None  # of all threads; None: not measured


@dataclass(frozen=True)
class Reference:
    """One half of the training images, as samples and the floor's images are compared with it."""

    distance: DistanceTo  # from the whole half
    manifold: Manifold  # of as many of its images as there are samples


def measure_floor(real: Reference, draws: Draws, features: Sequence[Tensor]) -> dict[str, Any]:
    """Measure what samples as good as new data would score: the mean over sets of real images.

    `features` (N,D) are those of the sets in `draws`, none of whose images is in the reference.
    Returns the report's floor in JSON types, each mean with the deviation of the sets.
    """
    measured: dict[str, list[float]] = {"frechet": [], "precision": [], "recall": []}
    limits = []
    for which, found in zip(draws.indices, features, strict=True):
        measured["frechet"].append(real.distance(found))
        limits.append(infinite(real.distance, found, draws.labels))
        # An image that is there twice is its own nearest neighbour
        different = found[_first_of_each(which)] if draws.kind == "repeating" else found
        covered = precision_recall(real.manifold, different)
        measured["precision"].append(covered.precision)
        measured["recall"].append(covered.recall)
    told = [limit for limit in limits if limit is not None]
    if told:
        measured["frechet_infinity"] = told
    spread = {
        key: value
        for name, values in measured.items()
        for key, value in (
            (name, float(np.mean(values))),
            (f"{name}_deviation", float(np.std(values, ddof=1)) * _scale(name, draws)),
        )
    }
    return {
        "images": len(features[0]),
        "draws": len(features),
        "kind": draws.kind,
        "scarce": draws.scarce,
        **spread,
    }


def _scale(name: str, draws: Draws) -> float:
    """What turns the deviation of sets that have images in common into that of fresh sets.

    Precision is a mean over images, so its variance is that of the sets. A distance is 0 but for
    chance, hence a square: of z = x + y, with x of variance a that differs among the sets, and y of
    variance b that they have in common, z^2 varies among the sets by 2 a^2 + 4 a b on average, and
    among fresh ones, with a = 1 and b = 0, by 2. Simulated recall follows that, too.
    """
    a, b = draws.own, draws.common
    return float((a if name == "precision" else a**2 + 2 * a * b) ** -0.5)


def _first_of_each(which: Tensor) -> Tensor:
    """The first place of each different number of `which` (N,)."""
    return torch.from_numpy(np.unique(which.numpy(), return_index=True)[1])


def quality(
    classifier: Classifier | None, samples: Samples, features: Tensor, real: Reference, seed: int
) -> dict[str, Any]:
    """Compare one sampler's images, with features (N,D), with the training images.

    Returns a report's row in JSON types: distances, times, and, where there is a classifier, how
    many labels are recognised.
    """
    covered = precision_recall(real.manifold, features)
    generator = generator_at(seed, Stream.RESAMPLES, 0)
    found: dict[str, Any] = {
        "images": len(features),
        "frechet": real.distance(features),
        "frechet_interval": list(interval(real.distance, features, samples.labels, generator)),
        "frechet_infinity": infinite(real.distance, features, samples.labels),
        "precision": covered.precision,
        "recall": covered.recall,
        "seconds": samples.seconds,
        "processor_seconds": samples.processor_seconds,
        "images_per_second": len(features) / samples.seconds,
    }
    if samples.labels is not None and classifier is not None:
        result = measure(classifier, samples.pixels, samples.labels)
        found["recognised"] = result.recognised / result.total
        found["recognised_interval"] = list(wilson(result.recognised, result.total))
        found["recognised_by_label"] = result.by_label
        found["recognised_labels"] = samples.labels.unique().tolist()
    return found


def sample_grid(samples: Samples) -> Array:
    """Lay out the first samples in one picture (H,W,C): a row for each label where there are two or
    more, in order, else 20 to a row."""
    images, labels = samples.pixels, samples.labels
    kinds = [] if labels is None else labels.unique().tolist()[:GRID]
    if labels is None or len(kinds) < 2:
        return grid(images[: GRID * GRID], min(GRID, len(images)))
    rows = [images[labels == label][:GRID] for label in kinds]
    columns = min(len(row) for row in rows)
    return grid(torch.cat([row[:columns] for row in rows]), columns)


def grid(images: Tensor, columns: int) -> Array:
    """Tile images uint8 (N,C,H,W) into one picture (H,W,C)."""
    return pixels.tile(np.moveaxis(images.numpy(), -3, -1), columns)
