"""The networks that benchmarks run."""

from pathlib import Path

import pytest
import torch

from benchmarks import networks
from diffusion.checkpoint import open_checkpoint
from diffusion.unet_layers import FirstConv


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_an_included_model_comes_without_labels_and_learned_variance(
    name: str, tmp_path: Path
) -> None:
    network = networks.NETWORKS[name](tmp_path / name)
    whole = open_checkpoint(name).eps_model()
    assert whole.config.num_class_embeds and network.checkpoint.unet.num_class_embeds is None
    assert network.parameters <= sum(p.numel() for p in whole.parameters())
    whole.unet.class_embedding.weight.data.zero_()
    C, size, _ = network.checkpoint.unet.image_shape
    x_t, t = torch.randn(2, C, size, size), torch.tensor([3, 500])
    with torch.inference_mode():
        made, expected = network.model()(x_t, t), whole(x_t, t, torch.tensor([1, 2]))
    torch.testing.assert_close(made, expected[:, :C])


def test_the_papers_network_has_the_papers_size(tmp_path: Path) -> None:
    network = networks.NETWORKS["paper"](tmp_path / "paper")
    assert network.parameters == 35_746_307
    assert network.flops / 1e9 == 12.107907072  # two for each multiplication and addition


def test_a_convolution_counts_two_operations_a_product(tmp_path: Path) -> None:
    """The first layer of the tiny network: 3 channels to 8, 3x3, on 8x8 pixels."""
    network = networks.tiny(tmp_path / "tiny")
    model = network.model()
    before = network.flops
    model.unet.conv_in = FirstConv(3, 8, 1)
    assert before - networks.flops(model) == 2 * 3 * 8 * 64 * (9 - 1)


def test_random_networks_have_the_size_asked_for(tmp_path: Path) -> None:
    network = networks.random("large", "small", size=64, channels=3, folder=tmp_path / "large")
    assert network.checkpoint.unet.image_shape == (3, 64, 64)
