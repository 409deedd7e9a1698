"""How good samples are: distances to the data, recognised or not, copied or not."""

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
    """Images uint8 (N,C,H,W) of one sampler, the labels asked for (N,), the seconds they took."""

    pixels: Tensor
    labels: Tensor | None
    seconds: float


@dataclass(frozen=True)
class Reference:
    """Features of one half of the training images, and how far as many of the other half are."""

    features: Tensor
    moments: Moments
    floor: float
    num_floor: int  # images that the floor was measured with

    @classmethod
    def of(cls, features: Tensor, other: Tensor) -> "Reference":
        """Features (N,D) of one half, and (M,D) of images of the other for the floor."""
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
    """Distances of one sampler's images, with features (N,D), to the training images; its speed."""
    precision, recall = precision_recall(real.features[: len(features)], features)
    found: dict[str, Any] = {
        "images": len(features),
        "frechet": frechet_distance(frechet.moments(features), real.moments),
        "precision": precision,
        "recall": recall,
        "seconds": samples.seconds,
        "images_per_second": len(features) / samples.seconds,
    }
    if samples.labels is not None:
        x_0 = pixels.to_model(samples.pixels)
        result = measure(classifier, x_0, samples.labels)
        found["recognised"] = result.recognised / result.total
        found["recognised_by_label"] = result.by_label
    return found


def memorisation(samples: Tensor, train: Tensor, test: Tensor) -> tuple[dict[str, Any], Array]:
    """Distances (RMSE on the 0..255 scale) from samples, and from test images, to the nearest
    training image, all uint8 (N,C,H,W); and a grid of samples, each above its nearest."""
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
    return pixels.tile(np.moveaxis(images.numpy(), -3, -1), columns)
