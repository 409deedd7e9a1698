"""The variational bound on the negative log likelihood, term by term (eq. 3, 5, 8 and 13).

    L = L_T + sum_{t > 1} L_{t-1} + L_0                                                       (5)

    L_T      KL( q(x_T | x_0) || N(0, I) )                    the prior: what x_T still tells of x_0
    L_{t-1}  KL( q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t) )  one for each reverse step
    L_0      -log p(x_0 | x_1)                                the discretised decoder (13)

With the t of the code (see `diffusion.spacing`), the term computed at t is L_t: L_0 at t = 0. All
but the network is float64: a term is the small difference of large numbers, and the decoder looks
into tails that are beyond float32.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion import noise
from diffusion.bound_spread import spread_over_chain
from diffusion.clip import clipped
from diffusion.config import Variance
from diffusion.guidance import Model
from diffusion.process import Process

HALF_BIN = 1 / 255
"""From a pixel, k / 127.5 - 1, to the edges of its bin."""
BEYOND = 1e3
"""Where the two outermost bins end: as good as infinity, but with finite gradients."""


@dataclass(frozen=True)
class Reverse:
    """The reverse process p(x_{0:T}) of eq. 1.

    With the variance `learned_range` the model gives (B,2C,H,W): eps_hat, then v (IDDPM, Nichol &
    Dhariwal 2021).
    """

    model: Model
    process: Process  # what it reverses: a full chain, or a respaced one
    variance: Variance  # which sigma_t^2
    clip: float | None = 1.0  # the limit of x_0_hat; None: none

    @cached_property
    def log_variance_table(self) -> Tensor:
        """log sigma_t^2, (S,), where it is not learned.

        The last step has beta~_2 by both choices, as in the paper's code: beta~_1 is 0, and beta_1
        is wider than the decoder needs.
        """
        q = self.process
        if self.variance == "fixed_large":
            return torch.cat([q.log_beta_tilde[:1], q.beta.log()[1:]])
        return q.log_beta_tilde

    def log_variance(self, t: Tensor, v: Tensor) -> Tensor:
        """Return log sigma_t^2 at t (B,), broadcastable to (B,C,H,W).

        `v` (B,C,H,W) chooses it from a learned range; otherwise it is not looked at.
        """
        if self.variance != "learned_range":
            return _rows(self.log_variance_table, t)
        # IDDPM eq. 15: v = -1 chooses beta~_t, v = 1 beta_t, and between them the logs are mixed
        share = (v + 1) / 2
        log_beta = _rows(self.process.beta.log(), t)
        return share * log_beta + (1 - share) * _rows(self.process.log_beta_tilde, t)


class Term(NamedTuple):
    """One term of the bound for each image, x_t, and what the network made of it; all float64."""

    nats: Tensor  # (B,)
    x_t: Tensor  # (B,C,H,W)
    x_0_hat: Tensor  # (B,C,H,W), clipped
    eps_hat: Tensor  # (B,C,H,W)


@dataclass(frozen=True)
class BoundTerms:
    """The terms of eq. 5 for B images and a chain of S steps, float64.

    They are in nats, or in bits/dim where `bits_per_dim` made them.
    """

    prior: Tensor  # (B,), L_T
    per_step: Tensor  # (B,S), with L_i in column i, so that column 0 is the decoder's
    x_0_mse: Tensor  # (B,S), the mean squared error of x_0_hat at each step
    eps_mse: Tensor  # (B,S), and of eps_hat
    num_dims: int  # C H W

    @property
    def decoder(self) -> Tensor:
        """L_0, (B,): the distortion."""
        return self.per_step[:, 0]

    @property
    def denoising(self) -> Tensor:
        """The sum of L_1 … L_{T-1}, (B,); together with the prior, the rate."""
        return self.per_step[:, 1:].sum(dim=1)

    @property
    def total(self) -> Tensor:
        """L, (B,): on average over the noise at least -log p(x_0)."""
        return self.prior + self.denoising + self.decoder

    def bits_per_dim(self) -> "BoundTerms":
        """Convert terms in nats to bits per dimension."""
        scale = 1 / (math.log(2) * self.num_dims)
        return BoundTerms(
            self.prior * scale, self.per_step * scale, self.x_0_mse, self.eps_mse, self.num_dims
        )


def prior(process: Process, x_0: Tensor) -> Tensor:
    """Compute L_T = KL( q(x_T | x_0) || N(0, I) ) of images x_0 (B,C,H,W): (B,) in nats."""
    # Of N(mean, variance) from N(0, 1): (mean^2 + variance - 1 - log variance) / 2, by eq. 4.
    # 1 - variance is alpha_bar_T, a few 1e-5: log1p keeps its digits.
    alpha_bar = process.alpha_bar[-1].to(x_0.device)
    each = alpha_bar * x_0.double() ** 2 - alpha_bar - torch.log1p(-alpha_bar)
    return 0.5 * each.sum(dim=(1, 2, 3))


def discretized_gaussian_log_likelihood(x_0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the log of the mass of N(mean, variance) in each pixel's bin (eq. 13), like x_0.

    Bins reach 1/255 to both sides of k / 127.5 - 1; the outermost two reach to infinity. In nats,
    and exact in float64 even in the far tails.
    """
    # The bin of each pixel, from delta_- to delta_+
    edge = 1 - HALF_BIN
    lower = torch.where(x_0 < -edge, -BEYOND, x_0 - HALF_BIN)
    upper = torch.where(x_0 > edge, BEYOND, x_0 + HALF_BIN)
    # Its edges in units of sigma from the mean
    scale = torch.exp(-0.5 * log_variance)
    a, b = (lower - mean) * scale, (upper - mean) * scale
    # In the upper tail Phi(b) and Phi(a) are both 1 in float64. The lower one has the same mass,
    # Phi(b) - Phi(a) = Phi(-a) - Phi(-b), and tells them apart.
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    # log(Phi(b) - Phi(a)) = log Phi(b) + log(1 - Phi(a) / Phi(b)), without leaving logs
    log_upper: Tensor = torch.special.log_ndtr(b)
    log_lower: Tensor = torch.special.log_ndtr(a)
    return log_upper + torch.log(-torch.expm1(log_lower - log_upper))


def term(reverse: Reverse, x_0: Tensor, t: Tensor, eps: Tensor, label: Tensor | None) -> Term:
    """Compute L_t of each image at its own t (B,), from one draw of x_t: eq. 8; eq. 13 at t = 0.

    x_0 (B,C,H,W) holds pixels, exactly k / 127.5 - 1; `eps` is the draw, like x_0. The mean over
    eps is the term of eq. 5.
    """
    q = reverse.process
    x_t = q.q_sample(x_0.double(), t, eps.double())  # eq. 4; the network alone sees it in float32
    out = reverse.model(x_t.float(), q.timesteps.to(t.device)[t], label)
    return compare(reverse, x_0, x_t, t, out)


def compare(reverse: Reverse, x_0: Tensor, x_t: Tensor, t: Tensor, out: Tensor) -> Term:
    """Compute L_t of each image, as `term` does, from what the model gave at x_t, `out`.

    Differentiable in `out`, so that it can be trained.
    """
    q = reverse.process
    x_0, x_t, out = x_0.double(), x_t.double(), out.double()
    C = x_0.shape[1]
    # p(x_{t-1} | x_t), eq. 1: its mean is mu~ (eq. 7) at x_0_hat, which is clipped as in sampling
    eps_hat, v = out[:, :C], out[:, C:]  # v has no channels unless the variance is learned
    x_0_hat = q.predict_x_0(x_t, t, eps_hat)
    eps_hat = torch.where(_rows(q.alpha_bar, t) > 0, eps_hat, x_t)  # x_t is eps where that is 0
    if reverse.clip is not None:
        x_0_hat = clipped(x_0_hat, reverse.clip)
    nats = term_nats(q, x_0, t, x_0_hat, reverse.log_variance(t, v))
    return Term(nats, x_t, x_0_hat, eps_hat)


def term_nats(
    process: Process, x_0: Tensor, t: Tensor, x_0_hat: Tensor, log_variance: Tensor
) -> Tensor:
    """Compute L_t (B,) of each image from x_0_hat, clipped, and log sigma_t^2, all float64."""
    q = process
    # KL of two Gaussians (eq. 8). mu~ and mu_theta share their x_t part (eq. 7), so they differ by
    # x_0 - x_0_hat alone.
    difference = _rows(q.mu_tilde_x_0, t) * (x_0 - x_0_hat)
    # (r - 1 - log r + difference^2 / sigma_t^2) / 2, where r is beta~_t / sigma_t^2
    log_beta_tilde = _rows(q.log_beta_tilde, t)
    ratio = torch.exp(log_beta_tilde - log_variance)
    kl = 0.5 * (ratio - 1 - (log_beta_tilde - log_variance))
    kl = kl + 0.5 * difference**2 * torch.exp(-log_variance)
    # The decoder where t = 0, where mu~ is x_0_hat itself (eq. 13)
    last = t == 0
    if bool(last.any()):
        decoder = -discretized_gaussian_log_likelihood(x_0, x_0_hat, log_variance)
        kl = torch.where(last[:, None, None, None], decoder, kl)
    return kl.sum(dim=(1, 2, 3))


class Draw(NamedTuple):
    """A term of each image that was computed for a part of the chain."""

    t: Tensor  # (B,) the code's; may differ from image to image
    weight: int | float  # how many terms of the chain it stands for
    eps: Tensor  # (B,C,H,W)
    term: Term


@torch.no_grad()
def draws(
    reverse: Reverse,
    x_0: Tensor,
    label: Tensor | None,
    chosen: Iterable[tuple[Tensor, int | float]],
    *,
    seed: int = 0,
    first_index: int = 0,
) -> Iterator[Draw]:
    """Compute the terms of images x_0 (B,C,H,W) at each chosen t (B,), with its weight, one after
    the other: one call of the network for each.

    Image b's draw at t is a function of (seed, first_index + b, t), whatever its batch.
    """
    B, *shape = x_0.shape  # shape is (C,H,W)
    indices = torch.arange(first_index, first_index + B, device=x_0.device)
    seeds = torch.full_like(indices, seed)
    for t, weight in chosen:
        eps = noise.normal(seeds, indices, t + 1, tuple(shape))  # draw 0 would be a sample's x_T
        yield Draw(t, weight, eps, term(reverse, x_0, t, eps, label))


@torch.no_grad()
def bound(
    reverse: Reverse,
    x_0: Tensor,
    label: Tensor | None = None,
    *,
    seed: int = 0,
    first_index: int = 0,
    num_terms: int | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> BoundTerms:
    """Compute every term of eq. 5 for images x_0 (B,C,H,W), each from one draw of x_t.

    That takes S calls of the network. With `num_terms` only so many of an image's S terms are
    computed: the decoder's, and one from each of equal parts of the chain, multiplied by the size
    of the part; the others are 0. Sums over the chain, and means over many images, are then right
    but for noise.

    Image b's draws are those of `draws`. `on_step` is called after each call of the network, for a
    progress bar.
    """
    B, S = len(x_0), reverse.process.num_timesteps
    indices = torch.arange(first_index, first_index + B, device=x_0.device)
    # nats, x_0_mse and eps_mse of every image at every t; terms that are not computed stay 0
    columns = torch.zeros(3, B, S, dtype=torch.float64, device=x_0.device)
    chosen = spread_over_chain(indices, S, num_terms or S, seed)
    for t, weight, eps, made in draws(
        reverse, x_0, label, chosen, seed=seed, first_index=first_index
    ):
        x_0_mse = (made.x_0_hat - x_0).square().mean(dim=(1, 2, 3))
        eps_mse = (made.eps_hat - eps).square().mean(dim=(1, 2, 3))
        values = torch.stack([made.nats, x_0_mse, eps_mse]).double() * weight
        # Each image's own column: t may differ from image to image
        columns.scatter_(2, t.expand(3, B)[:, :, None], values[:, :, None])
        on_step()
    nats, x_0_mse, eps_mse = columns
    return BoundTerms(prior(reverse.process, x_0), nats, x_0_mse, eps_mse, x_0[0].numel())


def _rows(table: Tensor, t: Tensor) -> Tensor:
    """Gather table[t] as (B,1,1,1) float64."""
    return table.to(t.device)[t][:, None, None, None]  # (B,) -> (B,1,1,1)
