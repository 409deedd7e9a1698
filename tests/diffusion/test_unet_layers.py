"""The U-Net's layers: what must stay float32, and which sizes they give."""

import pytest
import torch

from diffusion.unet_config import UNetConfig
from diffusion.unet_layers import Downsample, FirstConv, GroupNorm, Resnet, Upsample, attend
from diffusion.unet_plan import Widths

CONFIG = UNetConfig(
    block_out_channels=(8, 8),
    down_block_types=("DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D"),
    norm_num_groups=4,
)


def test_in_bfloat16_norms_and_narrow_heads_are_computed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 4, 4, generator=generator).bfloat16()
    norm = GroupNorm(4, 8)
    expected = torch.nn.functional.group_norm(x.float(), 4, norm.weight, norm.bias, norm.eps)
    q, k, v = torch.randn(3, 2, 2, 9, 8, generator=generator).bfloat16()
    attended = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(x), expected.bfloat16())
        assert torch.equal(attend(q, k, v), attended.bfloat16())


def test_in_bfloat16_the_network_sees_the_noise_of_its_first_states() -> None:
    conv = FirstConv(1, 8, 3, padding=1)
    x_0 = torch.full((2, 1, 4, 4), 254 / 127.5 - 1)
    x_1 = x_0 + 0.5 / 127.5 * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        noise = conv(x_1) - conv(x_0)
    torch.testing.assert_close(noise, conv(x_1) - conv(x_0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", [0, 1])
def test_resampling_halves_and_doubles_the_size(padding: int) -> None:
    x, temb = torch.zeros(2, 8, 6, 4), torch.zeros(2, 32)
    assert Downsample(8, padding)(x, temb).shape == (2, 8, 3, 2)
    assert Upsample(8)(x, temb).shape == (2, 8, 12, 8)
    widths = Widths(8, 4, 4, (4, 4))
    assert Resnet(CONFIG, widths, resample=0.5)(x, temb).shape == (2, 4, 3, 2)
    assert Resnet(CONFIG, widths, resample=2.0)(x, temb).shape == (2, 4, 12, 8)
