"""Which networks there are: each is made from its configuration, and found again by it."""

import dataclasses

import pytest
import torch

from diffusion.networks.network import Network
from diffusion.networks.registry import ADM, KINDS, UNET, kind_of, make_network, without_diffusers
from diffusion.unet_config import UNetConfig
from tests.diffusion.networks.conftest import CONFIGS

UNET_CONFIG = UNetConfig()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_makes_the_network_of_its_kind(name: str) -> None:
    config = CONFIGS[name]
    assert kind_of(config).name == name
    with torch.device("meta"):
        network = make_network(config)
    assert isinstance(network, Network) and network.config == config


def test_a_kind_is_found_by_its_name() -> None:
    assert all(kind.name == name for name, kind in KINDS.items())
    assert kind_of(UNET_CONFIG) is UNET


def test_a_kind_with_more_fields_is_not_taken_for_the_one_that_it_extends() -> None:
    extended = ADM.config(**dataclasses.asdict(UNET_CONFIG))
    assert isinstance(extended, UNetConfig)
    assert kind_of(extended) is ADM


def test_what_diffusers_cannot_open_says_so() -> None:
    assert without_diffusers(UNET_CONFIG) is None
    for name, config in CONFIGS.items():
        said = f"diffusers has no {name}: this package alone opens the checkpoint"
        assert without_diffusers(config) == said
