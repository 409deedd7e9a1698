"""The fields that OpenAI's networks have beyond a UNet2DModel's."""

import pytest

from diffusion.fields import ConfigError, from_dict, to_dict
from diffusion.networks.adm_config import ADMConfig
from diffusion.unet_config import UNetConfig

SHAPE = {
    "sample_size": 16,
    "block_out_channels": (32, 96),
    "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
}


def config(**fields: object) -> ADMConfig:
    return from_dict(ADMConfig, {**SHAPE, **fields})


def test_heads_are_as_many_at_levels_of_any_width() -> None:
    made = config(num_attention_heads=4)
    assert (made.head_dim(32), made.head_dim(96)) == (8, 24)


def test_without_these_fields_it_is_the_network_of_a_unet() -> None:
    unet = from_dict(UNetConfig, SHAPE)
    assert (config().head_dim(32), config().time_proj_dim) == (unet.head_dim(32), 32)
    extra = {"num_attention_heads": None, "time_proj_width": None}
    assert to_dict(config()) == {**to_dict(unet), **extra}


def test_the_embedding_of_t_has_a_width_of_its_own() -> None:
    assert config(time_proj_width=64).time_proj_dim == 64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads: 5 is not allowed; it must be a divisor"),
        ({"num_attention_heads": 64}, "num_attention_heads: 64 is not allowed"),
        ({"num_attention_heads": 0}, "num_attention_heads: 0 is not allowed; it must be 1 or more"),
        ({"time_proj_width": 0}, "time_proj_width: 0 is not allowed; it must be 1..16384"),
        ({"time_proj_width": 10**9}, "time_proj_width: 1000000000 is not allowed"),
    ],
)
def test_what_does_not_fit_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**fields)
