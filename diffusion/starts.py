"""Where chains begin that do not begin at noise: the states x_t of B samples, (B,C,H,W) float32.

    x_T ~ N(0, I)                   no start at all: draw 0 of each sample
    q(x_t | x_0) of a picture       `noised`; then the kept timesteps up to t (SDEdit, Meng et al.
                                    2022)
    between two noised pictures     both `noised` by the same eps, and `mixed` (Fig. 8)
    between the x_T of two seeds    `between_seeds`
    a state that is given           what `diffusion.inversion` or a trajectory gave

All are functions of (seed, index, start), as noise is, so that a sample is the same in any batch.

What a runner of tables does for a chain with a start: its first state is the start's and not draw
0. Where the chain has a known part (`reverse.Known`), after each step k the runner calls
`reverse.with_known` with the draw noise.KNOWN + k + 1. Steps, tables and draws of z are counted as
ever, from 0. Chains without a known part take a mask of 1 and any x_0 where they share a batch with
one that has it; a batch with a table that is not clipped gives `reverse.step` the limits by row.
"""

import math

import torch
from torch import Tensor

from diffusion import noise
from diffusion.process import Process


def noised(process: Process, x_0: Tensor, t: Tensor, seeds: Tensor, indices: Tensor) -> Tensor:
    """Draw x_t from q(x_t | x_0) of images x_0 (B,C,H,W), at the code's t (B,): eq. 4 with draw 0.

    Images that share a seed and an index have the same eps.
    """
    C, H, W = x_0.shape[1:]
    eps = noise.normal(seeds, indices, torch.zeros_like(seeds), (C, H, W))
    return process.q_sample(x_0, t, eps)


def mixed(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Mix states (B,C,H,W) linearly: (1 - weight) first + weight second, with weights (B,) float64.

    The paper's Fig. 8, where both are noised by the same eps.
    """
    share = weights[:, None, None, None]
    return (1 - share).to(first.dtype) * first + share.to(first.dtype) * second


def between_seeds(
    seeds: tuple[int, int], indices: Tensor, weights: Tensor, shape: tuple[int, int, int]
) -> Tensor:
    """Interpolate between x_T of two seeds on the sphere (Song, Meng, Ermon 2021, appendix D.5):
    (B,C,H,W), with weights (B,) in 0..1, at whose ends x_T is the seed's own.

    Mixed linearly they would have less noise than x_T.
    """
    zero = torch.zeros_like(indices)
    first, second = (noise.normal(zero + seed, indices, zero, shape) for seed in seeds)
    made = []
    for a, b, weight in zip(first, second, weights.tolist(), strict=True):
        share_a, share_b = _on_the_sphere(_angle(a, b), weight)
        made.append(share_a * a + share_b * b)
    return torch.stack(made)


def _angle(a: Tensor, b: Tensor) -> float:
    """The angle between two states, the same in any batch and with any number of threads."""
    a, b = a.double().flatten(), b.double().flatten()
    dot, length_a, length_b = (math.fsum(x.tolist()) for x in (a * b, a * a, b * b))
    return math.acos(max(-1.0, min(1.0, dot / math.sqrt(length_a * length_b))))


def _on_the_sphere(angle: float, weight: float) -> tuple[float, float]:
    """What two vectors at an angle are multiplied with to go `weight` of the way between them."""
    if math.sin(angle) == 0.0:  # they are the same
        return 1 - weight, weight
    sine = math.sin(angle)
    return math.sin((1 - weight) * angle) / sine, math.sin(weight * angle) / sine
