"""How many bits a model needs for a given picture, term by term (eq. 5), as `ddpm bound` tells."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffusion.bound import Draw, Reverse, draws, prior
from diffusion.bound_spread import spread_over_chain
from diffusion.bound_sum import PictureBound, PictureTerm, Terms, bits_per_dim


def chosen(
    terms: Terms, indices: Tensor, num_timesteps: int, seed: int
) -> Iterator[tuple[Tensor, int | float]]:
    """Yield the t (B,) of each term of the pictures, and how many terms it stands for."""
    if not terms.timesteps:
        yield from spread_over_chain(indices, num_timesteps, terms.count, seed)
    for t in terms.timesteps:
        yield torch.full_like(indices, t - 1), 1


def measure(
    reverse: Reverse, x_0: Tensor, label: Tensor | None, terms: Terms, *, seed: int
) -> Iterator[Draw]:
    """Compute the terms of pictures x_0 (B,C,H,W), the k-th with index k of the seed."""
    indices = torch.arange(len(x_0), device=x_0.device)
    each = chosen(terms, indices, reverse.process.num_timesteps, seed)
    yield from draws(reverse, x_0, label, each, seed=seed)


def summed(reverse: Reverse, x_0: Tensor, terms: Terms, made: Sequence[Draw]) -> list[PictureBound]:
    """Sum up the terms of each picture."""
    D, is_whole = x_0[0].numel(), terms.is_whole(reverse.process.num_timesteps)
    L_T = prior(reverse.process, x_0).tolist()
    nats = [draw.term.nats.tolist() for draw in made]
    times = [draw.t.tolist() for draw in made]
    found = []
    for b in range(len(x_0)):
        each = [
            PictureTerm(times[k][b] + 1, bits_per_dim(nats[k][b], D), float(draw.weight))
            for k, draw in enumerate(made)
        ]
        found.append(PictureBound.of(bits_per_dim(L_T[b], D), each, is_whole=is_whole))
    return found
