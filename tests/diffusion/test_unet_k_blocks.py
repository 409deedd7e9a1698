"""The blocks of k-diffusion, each against the one of diffusers with its weights."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from diffusion.unet_k_blocks import CrossAttention, TimedNorm
from tests.diffusion.unet_pair import TIME_DIM, Pair, close, drawn, pair

K: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 2, "norm_num_groups": 8}


@pytest.fixture(scope="module")
def networks() -> Pair:
    """A level that convolves, and below it one that attends, twice a layer."""
    return pair(
        **K,
        down_block_types=("KDownBlock2D", "KCrossAttnDownBlock2D"),
        up_block_types=("KCrossAttnUpBlock2D", "KUpBlock2D"),
    )


@torch.no_grad()
def test_a_level_down_gives_its_layers_outputs_and_not_the_halved_one(networks: Pair) -> None:
    x, image, temb = drawn(2, 32, 8, 12), drawn(2, 3, 8, 12), drawn(2, TIME_DIM, seed=2)
    on, passed, skips = networks.ours.down_blocks[0](x, image, temb)
    expected, outputs = networks.theirs.down_blocks[0](x, temb)
    assert close(on, expected) and on.shape == (2, 32, 4, 6)
    assert len(skips) == len(outputs) == 2 and passed is image
    assert all(close(skip, output) for skip, output in zip(skips, outputs, strict=True))


@torch.no_grad()
def test_the_lowest_level_attends_twice_a_layer_and_gives_no_skip_connections(
    networks: Pair,
) -> None:
    x, temb = drawn(2, 32, 4, 6), drawn(2, TIME_DIM, seed=2)
    block = networks.ours.down_blocks[1]
    on, _, skips = block(x, x, temb)
    expected, _ = networks.theirs.down_blocks[1](x, temb)
    assert close(on, expected) and skips == []
    assert all(attention.starts for attention in block.attentions)


@torch.no_grad()
def test_the_lowest_level_up_takes_no_skip_connection(networks: Pair) -> None:
    x, temb, others = drawn(2, 32, 4, 6), drawn(2, TIME_DIM, seed=2), [drawn(1, 1)]
    made, picture = networks.ours.up_blocks[0](x, None, others, temb)
    expected = networks.theirs.up_blocks[0](x, (None, None), temb)
    assert close(made, expected) and made.shape == (2, 32, 8, 12)
    assert len(others) == 1 and picture is None


@torch.no_grad()
def test_a_level_up_uses_the_last_of_its_skip_connections_and_removes_all(networks: Pair) -> None:
    x, temb = drawn(2, 32, 8, 12), drawn(2, TIME_DIM, seed=2)
    left, first, last = drawn(1, 1), drawn(2, 32, 8, 12, seed=3), drawn(2, 32, 8, 12, seed=4)
    given = [left, first, last]
    made, _ = networks.ours.up_blocks[1](x, None, given, temb)
    assert close(made, networks.theirs.up_blocks[1](x, (first, last), temb))
    assert len(given) == 1 and given[0] is left
    same, _ = networks.ours.up_blocks[1](x, None, [left, -first, last], temb)
    assert torch.equal(same, made), "the first is not used"


@torch.no_grad()
def test_a_level_that_attends_above_others_attends_once_a_layer() -> None:
    ours, theirs = pair(
        **K,
        down_block_types=("KCrossAttnDownBlock2D", "KDownBlock2D"),
        up_block_types=("KUpBlock2D", "KCrossAttnUpBlock2D"),
        time_embedding_dim=64,
    )
    x, temb = drawn(2, 32, 8, 12), drawn(2, 64, seed=2)
    on, _, skips = ours.down_blocks[0](x, x, temb)
    expected, outputs = theirs.down_blocks[0](x, temb)
    assert close(on, expected) and len(skips) == len(outputs) == 2
    assert not any(attention.starts for attention in ours.down_blocks[0].attentions)


@torch.no_grad()
def test_scale_and_shift_of_a_norm_are_made_of_t() -> None:
    torch.manual_seed(0)
    norm, x, temb = TimedNorm(5, 8, groups=2, eps=1e-5), drawn(2, 8, 3, 4), drawn(2, 5, seed=2)
    told = temb @ norm.linear.weight.T + norm.linear.bias
    scale, shift = told[:, :8, None, None], told[:, 8:, None, None]
    assert close(norm(x, temb), F.group_norm(x, 2) * (1 + scale) + shift)


@torch.no_grad()
def test_without_text_the_norm_for_it_changes_nothing() -> None:
    torch.manual_seed(0)
    attention, x = CrossAttention(8, head_dim=4), drawn(2, 8, 3, 4)
    before = attention(x)
    attention.norm_cross.weight.fill_(9.0)
    assert torch.equal(attention(x), before)
