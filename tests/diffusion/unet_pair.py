"""A network of diffusers and ours with its weights, whose blocks are compared one by one."""

from typing import Any, NamedTuple

import torch
from diffusers import UNet2DModel
from torch import Tensor

from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig
from tests.unet_configs import build

TIME_DIM = 32
"""The width of the time embedding of all that are compared."""


class Pair(NamedTuple):
    ours: UNet
    theirs: UNet2DModel


def pair(**fields: Any) -> Pair:
    """A network of random weights, for images of 8 x 12 pixels and three channels, twice."""
    config = UNetConfig(**{"sample_size": (8, 12), "time_embedding_dim": TIME_DIM, **fields})
    theirs = build(vars(config))
    ours = UNet(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return Pair(ours, theirs)


def drawn(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
