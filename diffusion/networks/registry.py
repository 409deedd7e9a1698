"""Which networks a checkpoint may hold, by the `_class_name` of its unet/config.json."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusion.networks.adm_config import ADMConfig
from diffusion.networks.config import NetworkConfig
from diffusion.networks.lucidrains import LucidrainsUnet
from diffusion.networks.lucidrains_config import LucidrainsUnetConfig
from diffusion.networks.network import Network
from diffusion.networks.song import SongUNet
from diffusion.networks.song_config import SongUNetConfig
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig


@dataclass(frozen=True)
class NetworkKind:
    """A class of networks."""

    name: str  # in config.json
    config: type[NetworkConfig]
    make: Callable[[Any], Network]  # from a `config`
    is_diffusers: bool  # does diffusers have a class of this name with these fields?


UNET = NetworkKind("UNet2DModel", UNetConfig, UNet, is_diffusers=True)
"""The kind that is trained here, and meant where a config.json names none."""
LUCIDRAINS = NetworkKind("LucidrainsUnet", LucidrainsUnetConfig, LucidrainsUnet, is_diffusers=False)
SONG = NetworkKind("SongUNet", SongUNetConfig, SongUNet, is_diffusers=False)
ADM = NetworkKind("ADMUNet", ADMConfig, UNet, is_diffusers=False)
KINDS = {kind.name: kind for kind in (UNET, LUCIDRAINS, SONG, ADM)}


def kind_of(config: NetworkConfig) -> NetworkKind:
    """Return the kind that a configuration is of."""
    return next(kind for kind in KINDS.values() if type(config) is kind.config)


def make_network(config: NetworkConfig) -> Network:
    """Make the network that a configuration describes."""
    return kind_of(config).make(config)


def without_diffusers(network: NetworkConfig) -> str | None:
    """Say that a network is one that diffusers cannot open, if it is."""
    kind = kind_of(network)
    if kind.is_diffusers:
        return None
    return f"diffusers has no {kind.name}: this package alone opens the checkpoint"
