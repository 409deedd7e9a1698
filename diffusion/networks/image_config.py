"""The fields and properties that the configurations of imported networks share."""

from dataclasses import dataclass

from diffusion.fields import require
from diffusion.unet_config import MAX_SIDE, MAX_WIDTH


@dataclass(frozen=True)
class ImageConfig:
    """What a network takes and gives: images of one size. It is a `NetworkConfig`."""

    sample_size: int | tuple[int, int]  # side, or (H, W), in pixels
    in_channels: int
    out_channels: int

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        size = self.sample_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (self.in_channels, *self.image_size)

    @property
    def num_class_embeds(self) -> int | None:
        """How many labels there are; None: the network is unconditional."""
        return None

    @property
    def max_timesteps(self) -> int | None:
        """The network knows t in 0 .. max_timesteps - 1; None: any."""
        return None

    @property
    def min_timestep(self) -> int:
        """The least t that the network can be told."""
        return 0

    def check_labels(self) -> None:
        """Raise nothing: a label is a whole number to all of these."""

    def check_images(self, levels: int) -> None:
        """Raise ConfigError unless a network of so many levels, each of half the size of that
        above, can take images of this size and number of channels."""
        for name in ("in_channels", "out_channels"):
            count = getattr(self, name)
            require(1 <= count <= MAX_WIDTH, name, count, f"1..{MAX_WIDTH}")
        factor = 2 ** (levels - 1)
        for size in self.image_size:
            fits = 0 < size <= MAX_SIDE and size % factor == 0
            require(fits, "sample_size", size, f"a multiple of {factor}, 1..{MAX_SIDE}")


def check_widths(name: str, widths: tuple[int, ...], most: int) -> None:
    """Raise ConfigError unless there are 1..`most` numbers of channels, each of which can be."""
    require(1 <= len(widths) <= most, name, widths, f"1..{most} numbers")
    for width in widths:
        require(1 <= width <= MAX_WIDTH, name, width, f"1..{MAX_WIDTH}")
