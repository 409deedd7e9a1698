"""Which terms of the bound are computed, where not all are: at which t of each image.

They are spread over the chain, so that their sum, weighted, is right but for noise.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion import noise

WHICH_T = 1 << 31
"""The number of the first draw that chooses timesteps; draws of noise have lower numbers."""


class Spread(NamedTuple):
    """K timesteps for each of B images, over all of the chain."""

    t: Tensor  # (K,B), the code's
    weights: list[int]  # (K,), how many terms each stands for


def spread(indices: Tensor, num_timesteps: int, num_terms: int, seed: int) -> Spread:
    """Choose the t at which the terms of images with these indices (B,) are computed."""
    # The decoder's term always: it is about half of the bound (section 4.3). 1..S-1 in equal parts,
    # one t from each: so the terms of an image are spread over the chain
    edges = torch.linspace(1, num_timesteps, num_terms).round().long()
    sizes = edges.diff()
    t = torch.cat([torch.zeros(1, dtype=torch.long), edges[:-1]]).to(indices.device)
    t = t[:, None].repeat(1, len(indices))
    parts = (sizes > 1).nonzero()[:, 0].to(indices.device)  # with num_terms = S there is none
    if len(parts):
        draws = (WHICH_T + parts)[:, None].expand(-1, len(indices)).flatten()
        limits = sizes.to(indices.device)[parts][:, None].expand(-1, len(indices)).flatten()
        images = indices.repeat(len(parts))
        drawn = noise.below(limits, torch.full_like(images, seed), images, draws)
        t[parts + 1] += drawn.reshape(len(parts), -1)
    return Spread(t, [1, *sizes.tolist()])


def spread_over_chain(
    indices: Tensor, num_timesteps: int, num_terms: int, seed: int
) -> Iterator[tuple[Tensor, int | float]]:
    """Yield the t (B,) at which the terms of images with these indices are computed, and how much
    they count."""
    chosen = spread(indices, num_timesteps, num_terms, seed)
    yield from zip(chosen.t, chosen.weights, strict=True)
