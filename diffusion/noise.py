"""Noise as a function: z for (seed, sample index, draw), whatever batch it is computed in.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011)
turns the counter (element block, draw, sample index) and the key (seed) into four 32-bit words,
Box-Muller turns those into four normal numbers. Everything here is integer arithmetic or exact in
the sense of `exact_math`: the same bytes in any batch, with any number of threads, anywhere.
"""

import math

import torch
from torch import Tensor

from diffusion import exact_math

MASK = 0xFFFFFFFF
MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Philox4x32-10: counter (4, …) and key (2, …), int64 holding 32-bit words, to words (4, …)."""
    shape = (2,) + (1,) * (counter.dim() - 1)
    multiplier = torch.tensor(MULTIPLIER, device=counter.device).reshape(shape)
    # A round: c0, c1, c2, c3 <- hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)
    even, odd = counter[0::2], counter[1::2]
    keys = key
    weyl = torch.tensor(WEYL, device=counter.device).reshape(shape)
    for _ in range(ROUNDS):
        product = (even * multiplier).flip(0)  # wraps to signed: the 64 bits are right
        even = ((product >> 32) & MASK) ^ odd ^ keys
        odd = product & MASK
        keys = (keys + weyl) & MASK
    return torch.stack([even, odd], dim=1).flatten(0, 1)


def normal(seeds: Tensor, indices: Tensor, draws: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 (B, *shape), row b a function of seeds[b], indices[b], draws[b].

    Each is int64 (B,): seeds and sample indices in 0 .. 2^63-1, draws in 0 .. 2^32-1. Draw 0 is
    x_T; draw k is the z of the k-th reverse step.
    """
    size = math.prod(shape)
    words = _words(seeds, indices, draws, blocks=-(-size // 4))
    z = _box_muller(words[0::2], words[1::2])  # (2, 2, B, blocks)
    return z.permute(2, 3, 0, 1).reshape(len(seeds), -1)[:, :size].reshape(-1, *shape)


def below(limit: int, seeds: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
    """A random number of 0 .. limit - 1, limit at most 2^31, as int64 (B,); of the same words as
    `normal`, so the draws must be others."""
    return _words(seeds, indices, draws, blocks=1)[0, :, 0] * limit >> 32


def _words(seeds: Tensor, indices: Tensor, draws: Tensor, blocks: int) -> Tensor:
    """32-bit words as int64 (4, B, blocks)."""
    block = torch.arange(blocks, device=seeds.device).expand(len(seeds), blocks)
    counter = torch.stack(
        [
            block,
            *(word[:, None].expand_as(block) for word in (draws, indices & MASK, indices >> 32)),
        ]
    )
    key = torch.stack([seeds & MASK, seeds >> 32])[:, :, None]
    return philox(counter, key)


def _box_muller(a: Tensor, b: Tensor) -> Tensor:
    """Two uniform words, each (…), to two independent normal numbers, float32 (2, …)."""
    radius = (-2 * exact_math.log((a.double() + 0.5) * 2.0**-32)).sqrt()
    return (exact_math.cos_sin(b) * radius).float()
