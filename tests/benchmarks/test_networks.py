"""The networks that benchmarks run."""

from pathlib import Path

import torch

from benchmarks import networks
from diffusion.checkpoint import open_checkpoint
from diffusion.unet_blocks import FirstConv


def test_an_included_model_comes_without_its_class_embedding(tmp_path: Path) -> None:
    network = networks.NETWORKS["mnist"](tmp_path / "mnist")
    whole = open_checkpoint("mnist").eps_model()
    model = network.model()
    assert network.checkpoint.unet.num_class_embeds is None
    labels = whole.unet.class_embedding.weight.numel()
    assert network.parameters == sum(p.numel() for p in whole.parameters()) - labels
    whole.unet.class_embedding.weight.data.zero_()
    x_t, t = torch.randn(2, 1, 28, 28), torch.tensor([3, 500])
    with torch.inference_mode():
        torch.testing.assert_close(model(x_t, t), whole(x_t, t, torch.tensor([1, 2])))


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
