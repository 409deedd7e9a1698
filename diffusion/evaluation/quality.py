"""How good samples are: how far from the data, whether recognised as their label, or copied."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion import pixels
from diffusion.evaluation import frechet
from diffusion.evaluation.classifier import Classifier, measure
from diffusion.evaluation.frechet import Moments, frechet_distance, precision_recall
from diffusion.training.randomness import generator_at

Array = np.ndarray
NEIGHBOURS = 50
"""How many samples are shown beside their nearest training image."""
COLUMNS = 25
"""Images in a row of that picture."""


class Stream(IntEnum):
    """What an evaluation chooses at random; each from a stream of its own."""

    IMAGES = 0  # the images that are measured or shown
    HALVES = 1  # which training images are the reference, and which measure the floor


@dataclass(frozen=True)
class Samples:
    """What one sampler made, and the time it took."""

    pixels: Tensor  # uint8 (N,C,H,W)
    labels: Tensor | None  # (N,) as asked for
    seconds: float  # elapsed
    processor_seconds: float | None = None  # of all threads; None: not measured


@dataclass(frozen=True)
class Reference:
    """One half of the training images, and the floor: how far images of the other half are from it.

    Samples as good as new data are about as far away as the floor.
    """

    features: Tensor  # (N,D)
    moments: Moments
    floor: float
    num_floor: int  # images that the floor was measured with

    @classmethod
    def of(cls, features: Tensor, other: Tensor) -> "Reference":
        """Make a reference of features (N,D) of one half, and (M,D) of images of the other half."""
        moments = frechet.moments(features)
        floor = frechet_distance(frechet.moments(other), moments)
        return cls(features, moments, floor, len(other))


def halves(images: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return a random half of the images (N,C,H,W), and `count` of the other half, at most all."""
    order = torch.randperm(len(images), generator=generator_at(seed, Stream.HALVES, 0))
    half = len(order) // 2
    return images[order[:half]], images[order[half:][:count]]


def quality(
    classifier: Classifier, samples: Samples, features: Tensor, real: Reference
) -> dict[str, Any]:
    """Compare one sampler's images, with features (N,D), with the training images.

    Returns a report's row in JSON types: distances, times, and how many labels are recognised.
    """
    precision, recall = precision_recall(real.features[: len(features)], features)
    found: dict[str, Any] = {
        "images": len(features),
        "frechet": frechet_distance(frechet.moments(features), real.moments),
        "precision": precision,
        "recall": recall,
        "seconds": samples.seconds,
        "processor_seconds": samples.processor_seconds,
        "images_per_second": len(features) / samples.seconds,
    }
    if samples.labels is not None:
        x_0 = pixels.to_model(samples.pixels)
        result = measure(classifier, x_0, samples.labels)
        found["recognised"] = result.recognised / result.total
        found["recognised_by_label"] = result.by_label
    return found


def memorisation(samples: Tensor, train: Tensor, test: Tensor) -> tuple[dict[str, Any], Array]:
    """Measure how near samples are to their nearest training images, and test images to theirs.

    All images are uint8 (N,C,H,W), distances RMSE on the 0..255 scale. Returns the numbers, and a
    picture of samples, each above its nearest training image.
    """
    count = min(NEIGHBOURS, len(samples), len(test))
    columns = min(COLUMNS, count)
    count -= count % columns
    scale = train[0].numel() ** -0.5
    flat = train.flatten(1).float()
    found = frechet.nearest(samples[:count].flatten(1).float(), flat)
    held_out = test[choose(len(test), count, seed=0)].flatten(1).float()
    usual = frechet.nearest(held_out, flat)
    pairs = [samples[:count], train[found.which]]
    rows = [p[i : i + columns] for i in range(0, count, columns) for p in pairs]
    numbers = {
        "images": count,
        "samples_median": (found.distance * scale).median().item(),
        "samples_least": (found.distance * scale).min().item(),
        "test_median": (usual.distance * scale).median().item(),
        "test_least": (usual.distance * scale).min().item(),
    }
    return numbers, grid(torch.cat(rows), columns)


def choose(size: int, count: int, seed: int) -> Tensor:
    """Draw `count` of the indices 0..size-1 without repetition, at most all: int64."""
    return torch.randperm(size, generator=generator_at(seed, Stream.IMAGES, 0))[:count]


def grid(images: Tensor, columns: int) -> Array:
    """Tile images uint8 (N,C,H,W) into one picture (H,W,C)."""
    return pixels.tile(np.moveaxis(images.numpy(), -3, -1), columns)
