"""Presets: networks by name, the same as those of the configurations that come with the project."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from diffusion.checkpoint import WithoutInit
from diffusion.fields import from_dict
from diffusion.presets import PRESETS
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

CONFIGS = Path(__file__).parents[2] / "configs"
OF_THE_DATA = {"sample_size", "in_channels", "out_channels", "num_class_embeds"}


@pytest.mark.parametrize(
    ("preset", "config", "parameters"),
    [
        ("small", "mnist", 1_114_209),
        ("medium", "cifar10-conditional", 6_475_011),
        ("paper", "cifar10", 35_746_307),
    ],
)
def test_a_preset_is_the_network_of_a_configuration(
    preset: str, config: str, parameters: int
) -> None:
    values = tomllib.loads((CONFIGS / f"{config}.toml").read_text())["unet"]
    assert PRESETS[preset] == {k: v for k, v in values.items() if k not in OF_THE_DATA}
    with torch.device("meta"), WithoutInit():
        network = UNet(from_dict(UNetConfig, values))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_presets_are_read_without_pytorch() -> None:
    check = "import sys, diffusion.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
