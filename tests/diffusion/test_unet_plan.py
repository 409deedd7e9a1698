"""The widths of a network's layers, level by level, against those of diffusers' modules."""

from typing import Any

import pytest
from diffusers import UNet2DModel

from diffusion.unet_config import UNetConfig
from diffusion.unet_plan import (
    DOWN_TYPES,
    UP_TYPES,
    Level,
    Widths,
    down_levels,
    gives_skips,
    groups_of,
    time_dim,
    up_levels,
)
from tests.unet_configs import network_fields

CIFAR10 = UNetConfig(
    block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None,
)
"""The paper's."""


def inputs(levels: list[Level]) -> list[tuple[int, ...]]:
    return [tuple(widths.in_channels for widths in level.resnets) for level in levels]


def test_on_the_way_down_the_first_layer_of_a_level_widens() -> None:
    levels = down_levels(CIFAR10)
    assert inputs(levels) == [(128, 128), (128, 256), (256, 256), (256, 256)]
    assert [level.resamples for level in levels] == [True, True, True, False]
    assert levels[1].resnets[0] == Widths(128, 256, 256, groups=(32, 32))
    assert [level.attention_channels for level in levels] == [(), (256, 256), (), ()]


def test_on_the_way_up_each_layer_also_takes_a_skip_connection() -> None:
    levels = up_levels(CIFAR10)
    assert inputs(levels) == [
        (512, 512, 512), (512, 512, 512), (512, 512, 256 + 128), (256 + 128, 256, 256),
    ]  # fmt: skip
    assert [level.depth for level in levels] == [3, 2, 1, 0]
    assert [level.resamples for level in levels] == [True, True, True, False]
    assert levels[2].attention_channels == (256, 256, 256)


@pytest.mark.parametrize("family", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_the_layers_of_every_family_have_the_widths_of_diffusers(seed: int, family: int) -> None:
    fields = network_fields(seed, family)
    config, theirs = UNetConfig(**fields), UNet2DModel(**fields)
    levels = [*down_levels(config), *up_levels(config)]
    for level, block in zip(levels, [*theirs.down_blocks, *theirs.up_blocks], strict=True):
        assert [
            (widths.in_channels, widths.channels, widths.out_channels, widths.groups)
            for widths in level.resnets
        ] == [shape(resnet) for resnet in block.resnets]


def shape(resnet: Any) -> tuple[int, int, int, tuple[int, int]]:
    """The channels and groups of a residual block of diffusers."""
    groups = resnet.norm1.num_groups, resnet.norm2.num_groups
    first, second = resnet.conv1, resnet.conv2
    return first.in_channels, first.out_channels, second.out_channels, groups


def test_the_time_embedding_is_four_times_as_wide_as_the_first_level_unless_it_is_set() -> None:
    assert time_dim(CIFAR10) == 512
    assert time_dim(UNetConfig(time_embedding_dim=50)) == 50


@pytest.mark.parametrize(
    ("is_set", "channels", "groups"), [(8, 64, 8), (None, 64, 16), (None, 256, 32)]
)
def test_groups_are_as_set_or_else_of_four_channels_and_at_most_32(
    is_set: int | None, channels: int, groups: int
) -> None:
    skip = ("SkipDownBlock2D",), ("SkipUpBlock2D",)
    fields: dict[str, Any] = {"down_block_types": skip[0], "up_block_types": skip[1]}
    config = UNetConfig(block_out_channels=(64,), norm_num_groups=is_set, **fields)
    assert groups_of(config, channels) == groups


def test_the_lowest_k_block_that_attends_gives_and_takes_no_skip_connections() -> None:
    config = UNetConfig(
        block_out_channels=(32, 32),
        down_block_types=("KDownBlock2D", "KCrossAttnDownBlock2D"),
        up_block_types=("KCrossAttnUpBlock2D", "KUpBlock2D"),
        time_embedding_dim=32,
    )
    assert [gives_skips(level) for level in down_levels(config)] == [True, False]
    assert [level.takes_skips for level in up_levels(config)] == [False, True]
    assert all(gives_skips(level) for level in down_levels(CIFAR10))


def test_an_old_name_means_the_same_block() -> None:
    old = UNetConfig(
        block_out_channels=(128, 256, 256, 256),
        down_block_types=tuple(f"UNetRes{name}" for name in CIFAR10.down_block_types),
        up_block_types=CIFAR10.up_block_types,
        attention_head_dim=None,
    )
    assert down_levels(old) == down_levels(CIFAR10)


def test_every_block_on_the_way_down_has_its_counterpart_on_the_way_up() -> None:
    turned = {name.replace("Down", "Up", 1) for name in DOWN_TYPES}
    assert turned == UP_TYPES.keys()
    for name, kind in DOWN_TYPES.items():
        up = UP_TYPES[name.replace("Down", "Up", 1)]
        assert kind._replace(name=up.name) == up
