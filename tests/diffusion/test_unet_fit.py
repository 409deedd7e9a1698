"""Whether the blocks of a U-Net fit: what does not is refused by field and value."""

import pytest
import torch

from diffusion.fields import ConfigError, from_dict
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig
from tests.diffusion.test_unet_config import SMALL, config

SKIP: dict[str, object] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (32, 32, 32),
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
    "up_block_types": ("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "norm_num_groups": None,
}
K: dict[str, object] = {
    "block_out_channels": (32, 32),
    "down_block_types": ("KDownBlock2D", "KCrossAttnDownBlock2D"),
    "up_block_types": ("KCrossAttnUpBlock2D", "KUpBlock2D"),
    "time_embedding_dim": 32,
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("norm_num_groups", None, "None is not allowed; it must be set, for DownBlock2D"),
        (
            "block_out_channels",
            (8, 18),
            r"\(8, 18\) is not allowed; it must be such that 18 channels, of a norm of AttnDown"
            "Block2D, part into 4 groups",
        ),
        ("attention_head_dim", 17, "17 is not allowed; it must be at most 16, a level's channels"),
        ("attn_norm_num_groups", 3, "3 is not allowed; it must be a divisor of 16, or left out"),
    ],
)
def test_norms_and_attentions_that_do_not_fit_their_channels_are_refused(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: {message}"):
        config({field: value})


@pytest.mark.parametrize(
    ("network", "field", "value", "message"),
    [
        (SKIP, "in_channels", 1, "1 is not allowed; it must be 3, for Skip blocks"),
        (SKIP, "out_channels", 6, "6 is not allowed; it must be 3, for Skip blocks"),
        (
            SKIP,
            "down_block_types",
            ("DownBlock2D", "SkipDownBlock2D", "SkipDownBlock2D"),
            ".* such that no other block comes before a Skip block, but where it is the lowest",
        ),
        (
            SKIP,
            "up_block_types",
            ("SkipUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D"),
            ".* such that no other block comes after a Skip block",
        ),
        (SKIP, "block_out_channels", (32, 40, 32), ".* 40 channels, .* part into 32 groups"),
        (K, "time_embedding_dim", 64, ".* that KCrossAttnUpBlock2D finds the skip connections"),
        (K, "block_out_channels", (16, 32), ".* 16 channels, .* part into groups of 32"),
        (K, "sample_size", 2, "2 is not allowed; .* KCrossAttnUpBlock2D gets images of 2 pixels"),
        (K, "up_block_types", ("UpBlock2D",) * 2, ".* UpBlock2D finds the skip connections"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(
    network: dict[str, object], field: str, value: object, message: str
) -> None:
    groups = {"norm_num_groups": 8} if network is SKIP and field.endswith("types") else {}
    with pytest.raises(ConfigError, match=rf"^\w+: {message}"):
        from_dict(UNetConfig, {**SMALL, **network, **groups, field: value})


@pytest.mark.parametrize(
    "fields",
    [
        SKIP,
        K,
        {**K, "layers_per_block": 2},
        {**SKIP, "down_block_types": ("DownBlock2D",) * 3, "norm_num_groups": 8},
        {"down_block_types": ("UNetResDownBlock2D",) * 2},
        {"norm_num_groups": 8, "block_out_channels": (8, 16), "downsample_type": None},
        {"attention_head_dim": 3},
        {"attention_head_dim": 16},
        {"attention_head_dim": 99, "mid_block_type": None,
         "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2},
    ],
)  # fmt: skip
def test_what_fits_can_be_built_and_run(fields: dict[str, object]) -> None:
    made = config(fields)
    x_t = torch.zeros(2, *made.image_shape)
    assert UNet(made)(x_t, torch.arange(2)).shape == x_t.shape
