"""The paper's models as pesser/pytorch_diffusion has them: the same outputs here as there."""

from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMPipeline
from torch import nn

from diffusion.config import ProcessConfig
from diffusion.process import Process
from tests.diffusion.importing.conftest import Import, Refusal, with_random_weights
from tests.diffusion.importing.paper_network import PaperNetwork, Residual, Shape

PROJECT = "pytorch-diffusion"

SHAPES = {
    "one level attends": Shape(32),
    "cifar10, but narrow": Shape(
        32, mult=(1, 2, 2, 2), blocks=2, attends=(False, True) + (False,) * 2
    ),
    "three levels": Shape(64, mult=(1, 1, 2), attends=(False, False, True)),
    "all levels attend": Shape(16, width=64, mult=(1, 1), blocks=3, attends=(True, True)),
    "grey images": Shape(32, channels=1),
}
T = torch.tensor([0, 7, 999])


def images(shape: Shape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, shape.channels, shape.size, shape.size, generator=generator)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_imported_network_gives_what_theirs_does(shape: Shape, import_network: Import) -> None:
    theirs = with_random_weights(PaperNetwork(shape))
    checkpoint = import_network(PROJECT, theirs, f"--image-size={shape.size}")
    assert checkpoint.unet.image_shape == (shape.channels, shape.size, shape.size)
    x_t = images(shape)
    with torch.no_grad():
        expected = theirs(x_t, T)
        assert 0.1 < expected.std() < 10, "a test that can fail"
        unet = DDPMPipeline.from_pretrained(checkpoint.folder).unet
        for made in (checkpoint.load()(x_t, T), unet(x_t, T).sample):
            torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("attends", "size"), [((False, True, False), 32), ((False, True, True), 64)], ids=str
)
def test_the_lowest_attention_tells_the_size_of_images(
    attends: tuple[bool, ...], size: int, import_network: Import
) -> None:
    theirs = PaperNetwork(Shape(mult=(1, 1, 1), attends=attends))
    assert import_network(PROJECT, theirs).unet.image_size == (size, size)


def test_without_attention_the_size_is_asked_for(refusal: Refusal) -> None:
    theirs = PaperNetwork(Shape(attends=(False, False)))
    assert refusal(PROJECT, theirs).startswith("--image-size: missing, and no attention")


@pytest.mark.parametrize(
    ("size", "flags", "expected"),
    [
        (32, "", ProcessConfig(variance="fixed_large")),  # the paper's CIFAR-10
        (64, "", ProcessConfig(variance="fixed_small")),
        (32, "--variance fixed_small", ProcessConfig(variance="fixed_small")),
        (
            64,
            "--timesteps 100 --schedule quad --beta-start 0.001 --beta-end 0.2",
            ProcessConfig(100, "scaled_linear", 0.001, 0.2),
        ),
    ],
)
def test_the_process_is_the_papers_unless_flags_say_otherwise(
    size: int, flags: str, expected: ProcessConfig, import_network: Import
) -> None:
    theirs = PaperNetwork(Shape())
    found = import_network(PROJECT, theirs, f"--image-size={size}", *flags.split()).process
    assert (found.variance, found.prediction, found.clip) == (expected.variance, "eps", 1.0)
    alpha_bar = (Process.from_config(process).alpha_bar for process in (found, expected))
    torch.testing.assert_close(*alpha_bar)


def test_what_data_parallel_puts_before_names_is_taken_away(import_network: Import) -> None:
    bare = PaperNetwork(Shape())
    checkpoint = import_network(PROJECT, nn.ModuleDict({"module": bare}))
    found = checkpoint.load().state_dict()["conv_in.weight"]
    assert torch.equal(found, bare.conv_in.weight)


def test_of_several_networks_a_flag_says_which(import_network: Import, refusal: Refusal) -> None:
    network, average = PaperNetwork(Shape()), PaperNetwork(Shape())
    both = nn.ModuleDict({"0": network, "4": average})  # as DDIM has it
    expected = "--part: missing; networks of the file are '0', '4'"
    assert refusal(PROJECT, both) == expected
    assert "--part: '3' is not allowed" in refusal(PROJECT, both, "--part=3")
    found = import_network(PROJECT, both, "--part=4").load().state_dict()["conv_in.weight"]
    assert torch.equal(found, average.conv_in.weight)


def without_convolutions(network: PaperNetwork) -> None:
    """As `resamp_with_conv` False has it."""
    del network.down[0].downsample


def with_a_block_more(network: PaperNetwork) -> None:
    network.down[1].block.append(Residual(64, 64, 128))


def with_a_wider_kernel(network: PaperNetwork) -> None:
    network.conv_out = nn.Conv2d(32, 3, 5)


def without_a_first_layer(network: PaperNetwork) -> None:
    del network.conv_in


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_convolutions, "tensor down.0.downsample.conv.weight is missing"),
        (with_a_block_more, "tensor down.1.block.1.norm1.weight has no place in the network"),
        (
            with_a_wider_kernel,
            "tensor conv_out.weight has shape (3, 32, 5, 5) of torch.float32, not (3, 32, 3, 3)"
            " of floating-point numbers",
        ),
        (without_a_first_layer, "tensor conv_in.weight is missing: not a network of this project"),
    ],
)
def test_what_does_not_fit_is_named(
    damage: Callable[[PaperNetwork], None], reason: str, refusal: Refusal
) -> None:
    network = PaperNetwork(Shape())
    damage(network)
    assert refusal(PROJECT, network) == reason
