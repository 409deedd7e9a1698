"""What defines a `SongUNet` of NVlabs/edm, in its form of DDPM++.

The standard library only, so that a configuration can be checked without loading PyTorch.
"""

from dataclasses import dataclass

from diffusion.fields import require
from diffusion.networks.image_config import ImageConfig, check_widths
from diffusion.unet_config import MAX_LAYERS, MAX_LEVELS, MAX_ROWS, MAX_WIDTH

NORM_GROUPS = 32


@dataclass(frozen=True)
class SongUNetConfig(ImageConfig):
    """The network, and for how many steps of a chain it has tables; names are the project's."""

    model_channels: int = 128
    channel_mult: tuple[int, ...] = (2, 2, 2)  # of each level, from the top down
    num_blocks: int = 4  # residual blocks of a level
    attn_resolutions: tuple[int, ...] = (16,)  # sides of the feature maps that attend
    label_dim: int = 0  # classes; 0: unconditional
    num_train_timesteps: int = 1000  # T

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        check_widths("channel_mult", self.channel_mult, MAX_LEVELS)
        self.check_images(levels)
        is_square = isinstance(self.sample_size, int)
        require(is_square, "sample_size", self.sample_size, "one number: the images are square")
        widest = self.model_channels * max(self.channel_mult)
        require(widest <= MAX_WIDTH, "channel_mult", self.channel_mult, f"widths to {MAX_WIDTH}")
        # Norms have 32 groups, or groups of 4 channels in narrow layers; one takes two layers' sum
        unit = 4 if 2 * widest < 4 * NORM_GROUPS else NORM_GROUPS
        fits = self.model_channels > 0 and self.model_channels % unit == 0
        require(fits, "model_channels", self.model_channels, f"a multiple of {unit}, above 0")
        for name, least, most in (
            ("num_blocks", 1, MAX_LAYERS),
            ("label_dim", 0, MAX_ROWS),
            ("num_train_timesteps", 1, MAX_ROWS),
        ):
            value = getattr(self, name)
            require(least <= value <= most, name, value, f"{least}..{most}")
        known = set(self.resolutions)
        allowed = f"among the levels' sides {self.resolutions}"
        require(
            set(self.attn_resolutions) <= known, "attn_resolutions", self.attn_resolutions, allowed
        )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The side of each level's feature maps, from the top down."""
        return tuple(self.image_size[0] >> level for level in range(len(self.channel_mult)))

    @property
    def num_class_embeds(self) -> int | None:
        """How many labels there are; None: the network is unconditional."""
        return self.label_dim or None

    @property
    def max_timesteps(self) -> int | None:
        """The network knows t in 0 .. max_timesteps - 1: it has tables of them."""
        return self.num_train_timesteps
