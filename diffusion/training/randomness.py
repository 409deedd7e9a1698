"""Random numbers as a function of (seed, stream, index), so that nothing of them need be saved.

Each purpose draws from a stream of its own. How much one of them draws changes nothing for the
others, and a resumed run draws at step n what it would have drawn without the stop.
"""

from enum import IntEnum

import torch

GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples spread neighbouring seeds far apart."""


class Stream(IntEnum):
    """What the numbers of a training run are for, and what the index counts.

    A stream's value is added to the seed. ORDER of seed 0 is therefore BATCH of seed 1; it stays
    so, because a run that was started by an older version must go on with the same numbers.
    """

    BATCH = 0  # t, eps, flips and dropped labels; the index is the step
    ORDER = 1  # the order of the images; the index is the epoch
    DROPOUT = 2  # the network's dropped units; the index counts the parts of all batches


def generator_at(seed: int, stream: int, index: int) -> torch.Generator:
    """Return a CPU generator whose draws depend on `seed`, `stream` and `index` alone."""
    return torch.Generator().manual_seed(((seed + stream) * GOLDEN_RATIO + index) % 2**63)
