"""Who is whose neighbour: precision and recall of a set of samples, and the nearest image.

Features, or pixels, are (N,D) tensors. All arithmetic is float64.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024
"""Rows of a distance matrix held at once."""


class Manifold:
    """The part of a feature space that a set of features covers: a ball around each of them.

    A ball reaches to its centre's k-th nearest neighbour in the set (Kynkäänniemi et al. 2019); in
    a set of k points or fewer, to the farthest.
    """

    def __init__(self, features: Tensor, k: int = 3) -> None:
        self.features = features
        rank = min(k + 1, len(features))  # the nearest is the point itself
        found = [d.kthvalue(rank, dim=1).values for d in _distances(features, features)]
        self._radius = torch.cat(found)  # (N,)

    def share_inside(self, points: Tensor) -> float:
        """Compute the share of points (M,D) that are in any of the balls."""
        inside = [(d <= self._radius).any(dim=1) for d in _distances(points, self.features)]
        return torch.cat(inside).double().mean().item()


class PrecisionRecall(NamedTuple):
    """The share of samples inside the real data's manifold, and of real data inside theirs."""

    precision: float
    recall: float


def precision_recall(real: Manifold, samples: Tensor, k: int = 3) -> PrecisionRecall:
    """Measure how far real data and samples (M,D) cover each other (Kynkäänniemi et al. 2019)."""
    recall = Manifold(samples, k).share_inside(real.features)
    return PrecisionRecall(real.share_inside(samples), recall)


class Neighbours(NamedTuple):
    """`which` (N,) reference is each query's nearest, and the `distance` (N,) to it."""

    which: Tensor
    distance: Tensor


def nearest(queries: Tensor, references: Iterable[Tensor]) -> Neighbours:
    """Find the nearest reference of each query, of (N,D); the references come in parts (m,D), so
    that they need not fit in memory."""
    best = Neighbours(
        torch.zeros(len(queries), dtype=torch.int64),
        torch.full((len(queries),), torch.inf, dtype=torch.float64),
    )
    start = 0
    for part in references:
        found = [d.min(dim=1) for d in _distances(queries, part)]
        distance = torch.cat([each.values for each in found])
        which = torch.cat([each.indices for each in found]) + start
        closer = distance < best.distance
        best = Neighbours(
            torch.where(closer, which, best.which), torch.where(closer, distance, best.distance)
        )
        start += len(part)
    return best


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """The matrix of distances, CHUNK rows at a time."""
    others = others.double()
    for part in points.split(CHUNK):
        yield torch.cdist(part.double(), others)
