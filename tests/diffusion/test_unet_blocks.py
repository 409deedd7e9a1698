"""The plain blocks, each against the one of diffusers with its weights."""

from typing import Any

import pytest
import torch

from tests.diffusion.unet_pair import TIME_DIM, close, drawn, pair

TWO: dict[str, Any] = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 2}
BLOCKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("DownBlock2D", "UpBlock2D", {}),
    "attends": ("AttnDownBlock2D", "AttnUpBlock2D", {"attention_head_dim": 4}),
    "attends, resized by blocks": (
        "AttnDownBlock2D",
        "AttnUpBlock2D",
        {"downsample_type": "resnet", "upsample_type": "resnet"},
    ),
    "resized by blocks": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", {}),
    "padded at the right and bottom": ("DownBlock2D", "UpBlock2D", {"downsample_padding": 0}),
    "told t by scale and shift": (
        "DownBlock2D",
        "UpBlock2D",
        {"resnet_time_scale_shift": "scale_shift", "act_fn": "gelu"},
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", BLOCKS)
def test_a_level_down_gives_all_its_outputs_as_skip_connections(name: str) -> None:
    down, up, fields = BLOCKS[name]
    ours, theirs = pair(**TWO, down_block_types=(down,) * 2, up_block_types=(up,) * 2, **fields)
    temb, image = drawn(2, TIME_DIM, seed=2), drawn(2, 3, 8, 12)
    for level, (H, W), count in ((0, (8, 12), 3), (1, (4, 6), 2)):  # the last is not halved
        x = drawn(2, 8, H, W)
        on, passed, skips = ours.down_blocks[level](x, image, temb)
        expected, outputs = theirs.down_blocks[level](x, temb)
        assert close(on, expected) and len(skips) == len(outputs) == count
        assert all(close(skip, output) for skip, output in zip(skips, outputs, strict=True))
        assert passed is image, "a plain block leaves the image as it is"


@torch.no_grad()
@pytest.mark.parametrize("name", BLOCKS)
def test_a_level_up_uses_the_last_skip_connections_and_removes_them(name: str) -> None:
    down, up, fields = BLOCKS[name]
    ours, theirs = pair(**TWO, down_block_types=(down,) * 2, up_block_types=(up,) * 2, **fields)
    temb = drawn(2, TIME_DIM, seed=2)
    for level, (H, W), widths in ((0, (4, 6), (8, 16, 16)), (1, (8, 12), (8, 8, 8))):
        x = drawn(2, 16, H, W)
        skips = [drawn(2, width, H, W, seed=3 + i) for i, width in enumerate(widths)]
        left = [drawn(1, 1)]
        given = [*left, *skips]
        made, picture = ours.up_blocks[level](x, None, given, temb)
        assert close(made, theirs.up_blocks[level](x, tuple(skips), temb))
        assert given == left and picture is None


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attention_head_dim": 16, "attn_norm_num_groups": 2},
        {"add_attention": False},
        {"mid_block_scale_factor": 1.4},
        {"resnet_time_scale_shift": "scale_shift"},
    ],
    ids=str,
)
def test_the_middle_is_that_of_diffusers(fields: dict[str, Any]) -> None:
    types = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    ours, theirs = pair(**TWO, **types, **fields)
    x, temb = drawn(2, 16, 4, 6), drawn(2, TIME_DIM, seed=2)
    assert ours.mid_block is not None
    assert close(ours.mid_block(x, temb), theirs.mid_block(x, temb))
