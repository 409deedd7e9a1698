"""The paper's chain, and ways through it, for the tests of samplers."""

import torch
from torch import Tensor

T = 1000
FULL = torch.arange(T)
SHORT = torch.tensor([0, 100, 333, 334, 640, 999])
"""Kept timesteps at uneven distances."""
SHAPE = (1, 4, 4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """N(0, 1) in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
