"""What the rest of the package reads of a network's configuration, whatever its layers are.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

from typing import Any, ClassVar, Protocol


class NetworkConfig(Protocol):
    """A frozen dataclass that defines a network; what is read of every one of them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @property
    def in_channels(self) -> int:
        """C of x_t."""

    @property
    def out_channels(self) -> int:
        """C, or 2C where the network learned its variance."""

    @property
    def num_class_embeds(self) -> int | None:
        """How many labels there are, the null label among them; None: it is unconditional."""

    @property
    def max_timesteps(self) -> int | None:
        """The network knows t in 0 .. max_timesteps - 1; None: any."""

    @property
    def min_timestep(self) -> int:
        """The least t that the network can be told."""

    def check_labels(self) -> None:
        """Raise ConfigError unless the network can be told labels as they are here: 0, 1, 2, …"""
