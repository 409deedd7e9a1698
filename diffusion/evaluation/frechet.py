"""How far apart two sets of images are in a feature space, and who is whose neighbour.

Features are (N,D) tensors; what makes them is the caller's choice. All arithmetic is float64.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024
"""Rows of a distance matrix held at once."""


class Moments(NamedTuple):
    """What the Fréchet distance needs to know of a set: `mean` (D,) and `covariance` (D,D)."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Compute the mean and the unbiased covariance of features (N,D), N >= 2."""
    # torch.cov takes variables as rows; of one variable it gives a scalar, hence the (D,D)
    features = features.double()
    return Moments(features.mean(dim=0), torch.cov(features.T).reshape(features.shape[1], -1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Compute || mu_a - mu_b ||^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017, eq. 6).

    It depends on the sets' sizes: compare only distances between sets of the same sizes.
    """
    # S_a S_b has the eigenvalues of the symmetric S_a^(1/2) S_b S_a^(1/2), so the trace of its root
    # is the sum of their roots. The clamps undo what rounding makes negative.
    root = _symmetric_root(a.covariance)
    eigenvalues = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0)
    spread = a.covariance.trace() + b.covariance.trace() - 2 * eigenvalues.sqrt().sum()
    return float(((a.mean - b.mean).square().sum() + spread).clamp(min=0))


def _symmetric_root(matrix: Tensor) -> Tensor:
    """The root of a covariance (D,D); eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root


class PrecisionRecall(NamedTuple):
    """The share of samples inside the real data's manifold, and of real data inside theirs."""

    precision: float
    recall: float


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> PrecisionRecall:
    """Measure how far two sets of features, (N,D) and (M,D), cover each other.

    A point is inside a set's manifold when it is no farther from one of the set's points than that
    one's k-th nearest neighbour in the set (Kynkäänniemi et al. 2019); in a set of k points or
    fewer, than its farthest.
    """
    return PrecisionRecall(_share_inside(samples, real, k), _share_inside(real, samples, k))


def _share_inside(points: Tensor, of: Tensor, k: int) -> float:
    """The share of `points` (N,D) in the manifold of the set `of` (M,D)."""
    # Each ball's radius (M,): the distance of its centre to that one's k-th nearest of the set
    rank = min(k + 1, len(of))  # the nearest is the point itself
    radius = torch.cat([d.kthvalue(rank, dim=1).values for d in _distances(of, of)])
    # Is a point (N,) in any of the balls?
    inside = [(d <= radius).any(dim=1) for d in _distances(points, of)]
    return torch.cat(inside).double().mean().item()


class Neighbours(NamedTuple):
    """`which` (N,) reference is each query's nearest, and the `distance` (N,) to it."""

    which: Tensor
    distance: Tensor


def nearest(queries: Tensor, references: Tensor) -> Neighbours:
    """Find the nearest reference, of (M,D), of each query, of (N,D)."""
    found = [d.min(dim=1) for d in _distances(queries, references)]
    return Neighbours(
        torch.cat([part.indices for part in found]), torch.cat([part.values for part in found])
    )


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """The matrix of distances, CHUNK rows at a time."""
    others = others.double()
    for part in points.split(CHUNK):
        yield torch.cdist(part.double(), others)
