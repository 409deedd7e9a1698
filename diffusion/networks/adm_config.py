"""OpenAI's network where a UNet2DModel cannot be it: two fields more, and the same layers.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

from dataclasses import dataclass

from diffusion.fields import require
from diffusion.unet_config import MAX_WIDTH, UNetConfig
from diffusion.unet_plan import down_levels, up_levels


@dataclass(frozen=True)
class ADMConfig(UNetConfig):
    """The network of improved-diffusion and guided-diffusion, with the fields of `UNet2DModel`.

    Their models of 64 and 128 pixels have four heads at levels of several widths, and that of 512
    pixels a first level that is narrower than the embedding of t.
    """

    num_attention_heads: int | None = None  # of each attention, in place of attention_head_dim
    time_proj_width: int | None = None  # of t's embedding; left out: the first level's

    def __post_init__(self) -> None:
        width = self.time_proj_width
        require(width is None or 1 <= width <= MAX_WIDTH, "time_proj_width", width,
                f"1..{MAX_WIDTH}, or left out")  # fmt: skip
        heads = self.num_attention_heads
        require(heads is None or heads >= 1, "num_attention_heads", heads, "1 or more, or left out")
        super().__post_init__()
        for level in (*down_levels(self), *up_levels(self)):
            for channels in (*level.attention_channels, self.block_out_channels[-1]):
                fits = heads is None or channels % heads == 0
                require(fits, "num_attention_heads", heads, f"a divisor of {channels}")

    def head_dim(self, channels: int) -> int:
        """Return the channels of a head, in an attention of so many."""
        heads = self.num_attention_heads
        return super().head_dim(channels) if heads is None else max(channels // heads, 1)

    @property
    def time_proj_dim(self) -> int:
        """The width of t's embedding before its dense layers."""
        return self.time_proj_width or super().time_proj_dim
