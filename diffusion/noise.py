"""Noise as a function: z for (seed, sample index, draw), whatever batch it is computed in.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011)
turns the counter (element block, draw, sample index) and the key (seed) into four 32-bit words,
Box-Muller turns those into four normal numbers. Everything here is integer arithmetic or IEEE
+, -, *, /, sqrt, one operation a kernel: such results do not depend on vectorisation, batch
size, thread count or device, which those of torch.log and torch.cos may.
"""

import math

import torch
from torch import Tensor

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
    blocks = -(-size // 4)
    block = torch.arange(blocks, device=seeds.device).expand(len(seeds), blocks)
    counter = torch.stack(
        [
            block,
            *(word[:, None].expand_as(block) for word in (draws, indices & MASK, indices >> 32)),
        ]
    )
    key = torch.stack([seeds & MASK, seeds >> 32])[:, :, None]
    words = philox(counter, key)  # (4, B, blocks)
    z = _box_muller(words[0::2], words[1::2])  # (2, 2, B, blocks)
    return z.permute(2, 3, 0, 1).reshape(len(seeds), -1)[:, :size].reshape(-1, *shape)


def _box_muller(a: Tensor, b: Tensor) -> Tensor:
    """Two uniform words, each (…), to two independent normal numbers, float32 (2, …)."""
    radius = (-2 * _log((a.double() + 0.5) * 2.0**-32)).sqrt()
    return (_cos_sin(b) * radius).float()


def _log(u: Tensor) -> Tensor:
    """ln u for u in (0, 1): u = m 2^e, ln m = ln c + 2 artanh((m - c) / (m + c)), c = sqrt(1/2)."""
    m, e = torch.frexp(u)
    c = math.sqrt(0.5)
    s = (m - c) / (m + c)
    series = _horner(s * s, [2 / (2 * k + 1) for k in range(8)])
    return (e.double() - 0.5) * math.log(2) + s * series


def _cos_sin(word: Tensor) -> Tensor:
    """(cos, sin) of 2 pi word / 2^32, (2, …): Taylor series in the eighth turn around 0, turned."""
    quarter = (word + (1 << 29)) >> 30  # nearest quarter turn, 0..4
    angle = (word - (quarter << 30)).double() * (2 * math.pi * 2.0**-32)  # within pi / 4
    y = angle * angle
    cos = _horner(y, [(-1) ** k / math.factorial(2 * k) for k in range(8)])
    sin = angle * _horner(y, [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)])
    odd = (quarter & 1).bool()
    turned = torch.stack([torch.where(odd, sin, cos), torch.where(odd, cos, sin)])
    sign = 1 - 2 * torch.stack([((quarter + 1) >> 1) & 1, (quarter >> 1) & 1])
    return turned * sign


def _horner(y: Tensor, coefficients: list[float]) -> Tensor:
    """sum_k coefficients[k] y^k."""
    total = torch.full_like(y, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.mul_(y).add_(coefficient)
    return total
