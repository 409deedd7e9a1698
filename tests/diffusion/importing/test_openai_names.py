"""Which of our tensors OpenAI's are, and how q, k and v lie in one."""

import torch

from diffusion.checkpoint import shapes
from diffusion.importing.openai_names import split_qkv, table
from diffusion.unet_config import UNetConfig


def test_every_tensor_of_ours_is_one_of_theirs_once() -> None:
    config = UNetConfig(
        sample_size=16,
        block_out_channels=(32, 64),
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
        num_class_embeds=3,
    )
    expected = shapes(config)
    made = [name for ours in table(config, expected).values() for name in ours]
    assert sorted(made) == sorted(expected)


def test_q_k_and_v_come_head_by_head_or_all_of_q_first() -> None:
    old = torch.tensor([0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23])  # two heads of two
    new = torch.tensor([0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23])
    expected = [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert [part.tolist() for part in split_qkv(old, 2, new_order=False)] == expected
    assert [part.tolist() for part in split_qkv(new, 2, new_order=True)] == expected
    # One head: both are the same
    assert [part.tolist() for part in split_qkv(new, 4, new_order=False)] == expected


def test_the_rows_of_a_weight_are_split_as_its_bias_is() -> None:
    bias = torch.arange(24.0)
    weight = bias[:, None].expand(24, 8)
    for parts in zip(
        split_qkv(weight, 4, new_order=False), split_qkv(bias, 4, new_order=False), strict=True
    ):
        assert torch.equal(parts[0][:, 0], parts[1])
