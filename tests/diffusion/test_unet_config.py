"""What cannot be built is refused by field and value, before a network is made."""

import math

import pytest
import torch

from diffusion.fields import ConfigError, from_dict
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

SMALL: dict[str, object] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}


def config(fields: dict[str, object]) -> UNetConfig:
    return UNetConfig(**{**SMALL, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("norm_num_groups", 0, "0 is not allowed; it must be 1..1000000, or left out"),
        ("norm_num_groups", -4, "-4 is not allowed; it must be 1..1000000, or left out"),
        ("block_out_channels", (0, 0), "0 is not allowed; it must be 1..16384"),
        ("block_out_channels", (-8, 8), "-8 is not allowed; it must be 1..16384"),
        ("block_out_channels", (), r"\(\) is not allowed; it must be 1..10 numbers, one a level"),
        ("attention_head_dim", -1, "-1 is not allowed; it must be 1..1000000, or left out"),
        ("attention_head_dim", 0, "0 is not allowed; it must be 1..1000000, or left out"),
        ("time_embedding_dim", -3, "-3 is not allowed; it must be 1..1000000, or left out"),
        ("layers_per_block", -1, "-1 is not allowed; it must be 1..16"),
        ("layers_per_block", 0, "0 is not allowed; it must be 1..16"),
        ("attn_norm_num_groups", 0, "0 is not allowed; it must be 1..1000000, or left out"),
        ("norm_eps", -1.0, "-1.0 is not allowed; it must be at least 0"),
        ("norm_eps", math.nan, "nan is not allowed; it must be at least 0"),
        ("mid_block_scale_factor", 0.0, "0.0 is not allowed; it must be above 0"),
        ("freq_shift", 4, "4 is not allowed; it must be below 4, half of the first block_out_ch"),
        ("downsample_padding", -1, "-1 is not allowed; it must be 0 or 1"),
        ("sample_size", 0, "0 is not allowed; it must be a multiple of 2, 1..16384"),
        ("in_channels", 0, "0 is not allowed; it must be 1..16384"),
        ("layers_per_block", 17, "17 is not allowed; it must be 1..16"),
        ("sample_size", 32_768, "32768 is not allowed; it must be a multiple of 2, 1..16384"),
        ("num_class_embeds", 10**6 + 1, "1000001 is not allowed; it must be 1..1000000"),
        ("num_class_embeds", 0, "0 is not allowed; it must be 1..1000000, or left out"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: {message}"):
        config({field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("down_block_types", ("DownEncoderBlock2D",) * 2, ".* must be among DownBlock2D, "),
        ("mid_block_type", "UNetMidBlock2DCrossAttn", ".* is not allowed"),
    ],
)
def test_blocks_that_are_not_known_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: {message}"):
        from_dict(UNetConfig, {**SMALL, field: value})


@pytest.mark.parametrize(
    "fields",
    [{}, {"freq_shift": 3}, {"downsample_padding": 0}, {"norm_eps": 0.0}],
)
def test_what_is_allowed_can_be_built_and_run(fields: dict[str, object]) -> None:
    made = config(fields)
    x_t = torch.zeros(2, *made.image_shape)
    assert UNet(made)(x_t, torch.arange(2)).shape == x_t.shape
