"""Chains on Gaussian data, where all is known: states stay Gaussian, so that mean and covariance
are carried along instead of samples. In float64, for tests."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from diffusion.guidance import Model
from diffusion.process import Process


class Gaussian(NamedTuple):
    """N(mean, covariance) of D numbers."""

    mean: Tensor  # (D,)
    covariance: Tensor  # (D,D)

    def through(self, matrix: Tensor, offset: Tensor, variance: Tensor) -> Self:
        """What matrix x + offset + noise is, with independent noise of these variances (D,)."""
        covariance = matrix @ self.covariance @ matrix.T + torch.diag(variance)
        return type(self)(matrix @ self.mean + offset, covariance)

    def given(self, is_known: Tensor, x: Tensor) -> Self:
        """The rest, given that the numbers `is_known` (D,) are those of x (D,)."""
        a, b = ~is_known, is_known
        gain = self.covariance[a][:, b] @ torch.linalg.inv(self.covariance[b][:, b])
        mean = self.mean[a] + gain @ (x[b] - self.mean[b])
        return type(self)(mean, self.covariance[a][:, a] - gain @ self.covariance[b][:, a])


def score(data: Gaussian, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix and offset of the best eps_hat of x_t: linear in it."""
    D = len(data.mean)
    marginal = alpha_bar * data.covariance + (1 - alpha_bar) * torch.eye(D, dtype=torch.float64)
    matrix = (1 - alpha_bar).sqrt() * torch.linalg.inv(marginal)
    return matrix, -matrix @ data.mean * alpha_bar.sqrt()


def network(data: Gaussian, process: Process) -> Model:
    """The best eps_hat as a model of images of D numbers."""
    parts = [score(data, alpha_bar) for alpha_bar in process.alpha_bar]
    matrices, offsets = (torch.stack(part).float() for part in zip(*parts, strict=True))

    def model(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
        eps_hat = torch.einsum("bij,bj->bi", matrices[t], x_t.flatten(1)) + offsets[t]
        return eps_hat.view_as(x_t)

    return model
