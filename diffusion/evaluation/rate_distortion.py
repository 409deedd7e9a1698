"""The chain as a progressive lossy code (section 4.3): how well so many bits describe an image.

Sending x_T, and then each x_{t-1} given x_t, costs the terms of the bound. A receiver who has x_t
estimates the image as x_0_hat(x_t), eq. 15; stopping early is lossy compression.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion import noise
from diffusion.bound import BoundTerms, Reverse, term


class RateDistortion(NamedTuple):
    """What a receiver of each state has paid and knows (Fig. 5), each (S,), in order of code t.

    `rate`: bits/dim received once x_t is known. `rmse`: the error of x_0_hat(x_t) on the 0..255
    scale, from the mean square over the images.
    """

    rate: Tensor
    rmse: Tensor


def rate_distortion(terms: BoundTerms) -> RateDistortion:
    """Compute rate and distortion at every t from the terms of the bound (section 4.3)."""
    terms = terms.bits_per_dim()
    # x_T costs L_T, and x_{i-1} given x_i costs L_i: who has x_t has paid L_T and the L_i above t.
    # Column i of per_step is L_i: without the decoder's L_0, L_1 … L_{S-1} and then L_T, (S,).
    costs = torch.cat([terms.per_step[:, 1:], terms.prior[:, None]], dim=1).mean(dim=0)
    # A sum from the noisy end down to t
    rate = costs.flip(0).cumsum(0).flip(0)
    # An error of 2 in [-1, 1] is one of 255 grey levels
    return RateDistortion(rate, 127.5 * terms.x_0_mse.mean(dim=0).sqrt())


@torch.no_grad()
def reconstructions(
    reverse: Reverse,
    x_0: Tensor,
    times: Sequence[int],
    label: Tensor | None = None,
    *,
    seed: int = 0,
    first_index: int = 0,
) -> Tensor:
    """Compute x_0_hat(x_t) of images x_0 (B,C,H,W) at each code t of `times`.

    Returns (len(times),B,C,H,W) float64, for the draws of x_t that `bound` makes with the same seed
    and first_index.
    """
    indices = torch.arange(first_index, first_index + len(x_0), device=x_0.device)
    made = []
    for code_t in times:
        t = torch.full_like(indices, code_t)
        shape = tuple(x_0.shape[1:])
        eps = noise.normal(torch.full_like(indices, seed), indices, t + 1, shape)  # as in `bound`
        made.append(term(reverse, x_0, t, eps, label).x_0_hat)
    return torch.stack(made)
