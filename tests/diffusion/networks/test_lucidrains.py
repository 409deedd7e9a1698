"""The lucidrains Unet against its equations, written without it: `lucidrains_network`."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.lucidrains import (
    FullAttention,
    LinearAttention,
    LucidrainsUnet,
    RMSNorm,
)
from diffusion.networks.lucidrains_config import LucidrainsUnetConfig
from tests.diffusion.importing import lucidrains_network as theirs
from tests.diffusion.importing.conftest import with_random_weights
from tests.diffusion.importing.lucidrains_network import Shape

T = torch.tensor([0, 7, 49])


def made(shape: Shape) -> LucidrainsUnet:
    levels = len(shape.mults)
    norm = {"norm": "group", "norm_groups": shape.groups} if shape.groups else {}
    return LucidrainsUnet(
        LucidrainsUnetConfig(
            sample_size=8, in_channels=shape.channels, out_channels=shape.out, dim=shape.dim,
            widths=tuple(shape.dims), full_attention=shape.full, heads=(shape.heads,) * levels,
            head_dim=(shape.head_dim,) * levels, num_mem_kv=shape.memories, theta=shape.theta,
            **norm,  # type: ignore[arg-type]
        )
    ).eval()  # fmt: skip


def images(channels: int = 3) -> Tensor:
    return torch.randn(3, channels, 8, 8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(mults=(1, 2, 4), full=(True, False, True), init_dim=24, theta=500.0),
        Shape(groups=8, memories=0, channels=1, out=2, heads=2, head_dim=12),
    ],
    ids=str,
)
def test_with_their_weights_it_is_their_network(shape: Shape) -> None:
    weights, x_t = theirs.drawn(shape), images(shape.channels)
    network = made(shape)
    network.load_state_dict(weights, strict=True)
    expected = theirs.output(shape, weights, x_t, T).float()
    torch.testing.assert_close(network(x_t, T), expected, rtol=1e-5, atol=1e-5)


def test_the_network_is_unconditional() -> None:
    with pytest.raises(ValueError, match="label: needed by, and only by"):
        made(Shape())(images(), T, torch.zeros(3, dtype=torch.int64))


@torch.no_grad()
def test_the_norm_divides_by_the_root_of_the_mean_square_of_the_channels() -> None:
    norm = RMSNorm(3)
    x = torch.tensor([3.0, 0.0, -4.0])[None, :, None, None]
    expected = x / (25 / 3) ** 0.5
    torch.testing.assert_close(norm(x), expected)
    norm.g.copy_(torch.tensor([2.0, 1.0, 0.5])[None, :, None, None])
    torch.testing.assert_close(norm(x).flatten(), expected.flatten() * norm.g.flatten())


@torch.no_grad()
def test_full_attention_also_sees_its_learned_keys_and_values() -> None:
    layer = with_random_weights(FullAttention(8, heads=2, head_dim=4, num_mem_kv=3))
    x = torch.randn(2, 8, 2, 3, generator=torch.Generator().manual_seed(2))
    q, k, v = layer.qkv(x)
    seen = []
    for head in range(2):
        keys = torch.cat([layer.mem_kv[0, head].T.expand(2, 4, 3), k[:, head]], dim=2)
        values = torch.cat([layer.mem_kv[1, head].T.expand(2, 4, 3), v[:, head]], dim=2)
        share = (q[:, head].mT @ keys / 2).softmax(dim=2)  # (B, 6, 3 + 6)
        assert share.shape == (2, 6, 9)
        seen.append((share @ values.mT).mT)
    expected = layer.to_out(torch.cat(seen, dim=1).reshape(2, 8, 2, 3))
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_linear_attention_costs_a_summary_and_no_pairs_of_positions() -> None:
    layer = with_random_weights(LinearAttention(8, heads=2, head_dim=4, num_mem_kv=0))
    x = torch.randn(1, 8, 2, 3, generator=torch.Generator().manual_seed(2))
    q, k, v = layer.qkv(x)
    heads = []
    for head in range(2):
        weight, query = k[0, head].softmax(dim=1), q[0, head].softmax(dim=0) / 2
        # In the order that pairs positions: the same, at the cost of their square
        pairs = query.T @ weight
        heads.append((pairs @ v[0, head].T).T)
    expected = layer.to_out(torch.cat(heads)[None].reshape(1, 8, 2, 3))
    torch.testing.assert_close(layer(x), expected)


def test_a_level_down_gathers_squares_of_pixels() -> None:
    network = made(Shape())
    unshuffle, project = network.downs[0][3]
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(unshuffle(x)[0, :, 0, 0], torch.tensor([0.0, 1.0, 4.0, 5.0]))
    assert project.kernel_size == (1, 1)
    assert F.interpolate(x, scale_factor=2.0).shape == network.ups[0][3][0](x).shape
