"""Noise as a function of (seed, sample index, draw), whatever batch it is computed in.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011)
turns a counter (element block, draw, sample index) and a key (the seed) into four 32-bit words, and
the Box-Muller transform turns those into four normal numbers. All of it is integer arithmetic, or
exact in the sense of `exact_math`: the bytes are the same in any batch, with any number of threads,
and on any machine.

Which draws of a sample are for what, so that none is used twice:

    0                   x_T, or the eps of a start that is a noised picture
    k + 1               z of step k
    KNOWN + k + 1       w of step k: the noise of the part of the image that is known
    2^31 and above      the timesteps at which a bound's terms are computed (`bound_spread.WHICH_T`)

The bound of an image takes its eps at the code's t from draw t + 1; an image is no sample.
"""

import math

import torch
from torch import Tensor

from diffusion import exact_math

MASK = 0xFFFFFFFF
MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""Philox's constants: the multipliers of a round, and what is added to the key after each."""
ROUNDS = 10
KNOWN = 1 << 30
"""How much higher the draws of the known part's noise are numbered than those of z."""


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Compute Philox4x32-10 of counter (4, …) and key (2, …): words (4, …), all int64 that hold 32
    bits."""
    shape = (2,) + (1,) * (counter.dim() - 1)  # of the constants, to go with (2, …)
    multiplier = _pair(MULTIPLIER, counter.device).reshape(shape)
    # A round: c0, c1, c2, c3 <- hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)
    # Both halves are computed at once: even is c0, c2; odd is c1, c3.
    even, odd = counter[0::2], counter[1::2]
    keys = key
    weyl = _pair(WEYL, counter.device).reshape(shape)
    for _ in range(ROUNDS):
        # 32 x 32 -> 64 bits. int64 wraps to signed, but the bits are right; the mask drops the sign
        # that >> spreads. M1 c2 comes first.
        product = (even * multiplier).flip(0)
        even = ((product >> 32) & MASK) ^ odd ^ keys
        odd = product & MASK
        keys = (keys + weyl) & MASK  # the key schedule: a Weyl sequence
    return torch.stack([even, odd], dim=1).flatten(0, 1)  # c0, c1, c2, c3


def normal(seeds: Tensor, indices: Tensor, draws: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise, float32 (B, *shape): row b from seeds[b], indices[b], draws[b].

    Each of these is int64 (B,): seeds and sample indices in 0 .. 2^63-1, draws in 0 .. 2^32-1.
    """
    size = math.prod(shape)
    # Four words, and so four numbers, a block; those beyond the size are cut off.
    words = _words(seeds, indices, draws, blocks=-(-size // 4))
    z = _box_muller(words[0::2], words[1::2])  # (2, 2, B, blocks)
    z = z.permute(2, 3, 0, 1).reshape(len(seeds), -1)  # (B, 4 blocks): block after block
    return z[:, :size].reshape(-1, *shape)


def below(limit: int | Tensor, seeds: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
    """Draw a number of 0 .. limit - 1 for each row, int64 (B,). The limit, one or (B,), is at most
    2^31.

    It is made of the same words as `normal`'s, so the draws must be others than those.
    """
    # The high half of word * limit: no number is likelier than another by more than 1 in 2^32.
    return _words(seeds, indices, draws, blocks=1)[0, :, 0] * limit >> 32


def _words(seeds: Tensor, indices: Tensor, draws: Tensor, blocks: int) -> Tensor:
    """Random 32-bit words of each row, as int64 (4, B, blocks)."""
    block = torch.arange(blocks, device=seeds.device).expand(len(seeds), blocks)  # (B, blocks)
    # The counter's four words: which block, which draw, and the sample's index in two halves
    counter = torch.stack(
        [
            block,
            *(word[:, None].expand_as(block) for word in (draws, indices & MASK, indices >> 32)),
        ]
    )
    key = torch.stack([seeds & MASK, seeds >> 32])[:, :, None]  # (2, B, 1)
    return philox(counter, key)


def _pair(numbers: tuple[int, int], device: torch.device) -> Tensor:
    """Two integers as a tensor, (2,) int64, made on the device: it waits for no copy."""
    first, second = numbers
    return torch.arange(2, device=device) * (second - first) + first


def _box_muller(a: Tensor, b: Tensor) -> Tensor:
    """Turn uniform words a and b, each (…), into two independent normal numbers, float32 (2, …)."""
    # radius sqrt(-2 ln u), angle 2 pi b / 2^32 (Box & Muller 1958). The half keeps u off 0 and 1.
    radius = (-2 * exact_math.log((a.double() + 0.5) * 2.0**-32)).sqrt()
    return (exact_math.cos_sin(b) * radius).float()
