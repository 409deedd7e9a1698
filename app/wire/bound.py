"""Which terms of the bound a job computes, and of which pictures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """Terms of the variational bound (eq. 5) of pictures, raw uint8 (C,H,W): `count` of each, which
    are spread over the chain, or those at the paper's `timesteps`, rising, instead.

    Sample k * count + j of the job is term j of picture k.
    """

    pictures: tuple[bytes, ...]
    count: int
    timesteps: tuple[int, ...] = ()
