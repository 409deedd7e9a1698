"""What defines a `Unet` of lucidrains/denoising-diffusion-pytorch.

The standard library only, so that a configuration can be checked without loading PyTorch.
"""

import math
from dataclasses import dataclass
from typing import Literal

from diffusion.fields import require
from diffusion.networks.image_config import ImageConfig, check_widths
from diffusion.unet_config import MAX_LEVELS, MAX_ROWS, MAX_WIDTH


@dataclass(frozen=True)
class LucidrainsUnetConfig(ImageConfig):
    """The network, of releases from 1.8.0 on; a level's fields are listed from the top down."""

    dim: int  # the width of the sinusoidal embedding of t
    widths: tuple[int, ...]  # channels after the first convolution, then below each level
    full_attention: tuple[bool, ...]  # of each level; else its attention is linear
    heads: tuple[int, ...]  # of each level's attention; the middle has the last level's
    head_dim: tuple[int, ...]  # channels of a head, of each level
    num_mem_kv: int = 4  # learned keys and values that every position sees too
    norm: Literal["rms", "group"] = "rms"  # of the residual blocks: from 2.0.0 on, and before
    norm_groups: int = 8  # of norm "group"
    theta: float = 10_000.0  # the longest period of the embedding of t, over 2 pi

    def __post_init__(self) -> None:
        levels = self.levels
        check_widths("widths", self.widths, MAX_LEVELS + 1)
        require(levels >= 1, "widths", self.widths, "two numbers or more, one more than levels")
        self.check_images(levels)
        for name in ("full_attention", "heads", "head_dim"):
            values = getattr(self, name)
            require(len(values) == levels, name, values, f"{levels} values, one a level")
        check_widths("heads", self.heads, levels)
        check_widths("head_dim", self.head_dim, levels)
        fits = 4 <= self.dim <= MAX_WIDTH and self.dim % 2 == 0
        require(fits, "dim", self.dim, f"even, 4..{MAX_WIDTH}")
        require(0 <= self.num_mem_kv <= MAX_ROWS, "num_mem_kv", self.num_mem_kv, f"0..{MAX_ROWS}")
        require(1 < self.theta < math.inf, "theta", self.theta, "above 1")
        groups = self.norm_groups
        if self.norm == "group":
            fits = groups >= 1 and all(width % groups == 0 for width in self.widths)
            require(fits, "norm_groups", groups, f"a divisor of all widths, {self.widths}")

    @property
    def levels(self) -> int:
        """How many levels the network has; each but the last halves the size."""
        return len(self.widths) - 1
