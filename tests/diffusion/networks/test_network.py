"""What every network promises, whatever its layers are."""

import pytest
import torch
from torch import nn

from diffusion.networks.network import Network
from diffusion.networks.registry import make_network
from diffusion.unet_config import UNetConfig
from tests.diffusion.networks.conftest import CONFIGS

EVERY = {
    **CONFIGS,
    "UNet2DModel": UNetConfig(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    ),
}


@pytest.fixture(params=EVERY)
def network(request: pytest.FixtureRequest) -> Network:
    """One of each kind."""
    torch.manual_seed(0)
    return make_network(EVERY[request.param]).eval()


@torch.no_grad()
def test_each_image_is_predicted_by_itself(network: Network) -> None:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(3, *network.config.image_shape, generator=generator)
    t, rows = torch.tensor([0, 7, 49]), network.config.num_class_embeds
    label = None if rows is None else torch.tensor([0, 1, 2])
    for parameter in (*network.parameters(), *network.buffers()):
        parameter.normal_(0, 0.1, generator=generator)
    made = network(x_t, t, label)
    assert made.shape == (3, network.config.out_channels, *network.config.image_size)
    for row in range(3):
        one = slice(row, row + 1)
        alone = network(x_t[one], t[one], None if label is None else label[one])
        torch.testing.assert_close(made[one], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made, network(x_t, t.flip(0), label)), "t is told"


def test_the_first_two_convolutions_and_no_other_stay_exact(network: Network) -> None:
    convolutions = [
        name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    ]
    exact = [name for name in convolutions if network.exact_layers.match(name)]
    assert exact == convolutions[:2] and len(convolutions) > 2


def test_what_embeds_t_stays_exact(network: Network) -> None:
    dense = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and "attentions" not in name
    }
    assert dense and {name for name in dense if network.exact_layers.match(name)} == dense
