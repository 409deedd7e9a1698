"""How far apart two sets of images are in a feature space: the Fréchet distance.

Features are (N,D) tensors; what makes them is the caller's choice. All arithmetic is float64.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """What the Fréchet distance needs to know of a set: `mean` (D,) and `covariance` (D,D)."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor | Iterable[Tensor]) -> Moments:
    """Compute the mean and the unbiased covariance of features (N,D), N >= 2; or of a set that
    comes in parts (n,D), so that it need not fit in memory."""
    count, mean, scatter = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for part in [features] if isinstance(features, Tensor) else features:
        # Two sets' sums of squares about their means add up, but for the distance of the means
        # (Chan, Golub, LeVeque 1983)
        part = part.double()
        n, centred = len(part), part - part.mean(dim=0)
        apart = part.mean(dim=0) - mean
        scatter = scatter + centred.mT @ centred
        scatter = scatter + torch.outer(apart, apart) * (count * n / (count + n))
        mean = mean + apart * (n / (count + n))
        count += n
    return Moments(mean, scatter / (count - 1))


class DistanceTo:
    """The Fréchet distance from one set to any others; the work that they share is done once."""

    def __init__(self, reference: Moments) -> None:
        self.reference = reference
        self._root = _symmetric_root(reference.covariance)

    def __call__(self, features: Tensor) -> float:
        """Compute the distance of features (N,D), N >= 2.

        It is || mu_a - mu_b ||^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017, eq. 6),
        and on average the larger, the fewer the features: compare equal numbers only.
        """
        features = features.double()
        mean = features.mean(dim=0)
        centred = (features - mean) / (len(features) - 1) ** 0.5  # S_b is centred^T centred
        # S_a S_b has the eigenvalues of S_a^(1/2) S_b S_a^(1/2), which are those of A^T A for
        # A = centred S_a^(1/2); but for zeros so are those of A A^T, the smaller where N < D.
        turned = centred @ self._root
        square = turned.mT @ turned if len(turned) > turned.shape[1] else turned @ turned.mT
        eigenvalues = torch.linalg.eigvalsh(square)
        return self._distance(mean, centred.square().sum(), eigenvalues)

    def of(self, other: Moments) -> float:
        """Compute the distance of a set of which the moments are known."""
        eigenvalues = torch.linalg.eigvalsh(self._root @ other.covariance @ self._root)
        return self._distance(other.mean, other.covariance.trace(), eigenvalues)

    def _distance(self, mean: Tensor, trace: Tensor, eigenvalues: Tensor) -> float:
        # The clamps undo what rounding makes negative.
        roots = eigenvalues.clamp(min=0).sqrt().sum()
        spread = self.reference.covariance.trace() + trace - 2 * roots
        return float(((self.reference.mean - mean).square().sum() + spread).clamp(min=0))


def _symmetric_root(matrix: Tensor) -> Tensor:
    """The root of a covariance (D,D); eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    return root
