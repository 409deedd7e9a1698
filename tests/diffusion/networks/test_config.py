"""What the package reads of every network's configuration."""

import dataclasses
import subprocess
import sys

import pytest

from diffusion.networks.config import NetworkConfig
from diffusion.unet_config import UNetConfig
from tests.diffusion.networks.conftest import CONFIGS

UNET = UNetConfig(sample_size=(8, 16), num_class_embeds=3)
EVERY = {**CONFIGS, "UNet2DModel": UNET}
READ = [name for name in vars(NetworkConfig) if not name.startswith("_")]


def test_there_is_something_to_read() -> None:
    assert {"image_shape", "num_class_embeds", "max_timesteps", "check_labels"} <= set(READ)


@pytest.mark.parametrize("name", EVERY)
def test_a_configuration_of_every_kind_has_all_of_it_and_is_frozen(name: str) -> None:
    config = EVERY[name]
    assert all(hasattr(config, read) for read in READ)
    H, W = config.image_size
    assert config.image_shape == (config.in_channels, H, W)
    assert config.num_class_embeds is None or config.num_class_embeds > 0
    config.check_labels()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.in_channels = 7  # type: ignore[misc]


def test_configurations_are_checked_without_loading_pytorch() -> None:
    modules = "adm_config", "image_config", "lucidrains_config", "song_config"
    imports = "; ".join(f"import diffusion.networks.{name}" for name in modules)
    check = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
