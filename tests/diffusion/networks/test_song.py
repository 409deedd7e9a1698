"""The SongUNet against its equations, written without it: `edm_network`."""

import pytest
import torch
from torch import Tensor

from diffusion.importing.edm import edm_chain
from diffusion.networks.song import TABLES, Block, SongUNet
from diffusion.networks.song_config import SongUNetConfig
from tests.diffusion.importing import edm_network as theirs
from tests.diffusion.importing.edm_network import Denoiser, Shape, Weights

T = 10
STEPS = torch.tensor([0, 4, 9])
SHAPES = {
    "two levels": Shape(),
    "three levels, two blocks": Shape(side=16, mults=(1, 2, 2), blocks=2, attends=(16, 8)),
    "classes, grey": Shape(classes=10, channels=1, attends=()),
}


def made(shape: Shape) -> SongUNet:
    return SongUNet(
        SongUNetConfig(
            sample_size=shape.side, in_channels=shape.channels, out_channels=shape.channels,
            model_channels=shape.width, channel_mult=shape.mults, num_blocks=shape.blocks,
            attn_resolutions=shape.attends, label_dim=shape.classes, num_train_timesteps=T,
        )
    ).eval()  # fmt: skip


def ours(shape: Shape, weights: Weights) -> Weights:
    """Their tensors without what only training needs, the last two layers under our names."""
    top, kept = f"dec.{shape.side}x{shape.side}_aux_", {}
    for name, tensor in weights.items():
        if not name.endswith("resample_filter") and not name.startswith("map_augment"):
            kept[name.replace(top, "out_")] = tensor
    return kept


def tables(**of: Tensor) -> Weights:
    """The tables over t: those given, and else 1."""
    return {name: of.get(name, torch.ones(T)) for name in TABLES}


def images(shape: Shape) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, shape.channels, shape.side, shape.side, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_with_their_weights_it_is_their_network(shape: Shape) -> None:
    """Without the preconditioning: its scales are 1, 0 and 1."""
    weights, x = theirs.drawn(shape), images(shape)
    network, noise_label = made(shape), torch.linspace(-1, 1, T)
    given = tables(skip_scale=torch.zeros(T), noise_label=noise_label)
    network.load_state_dict(ours(shape, weights) | given, strict=True)
    label = torch.tensor([0, 3, 9]) if shape.classes else None
    expected = Denoiser(shape, weights, "edm").raw(x.double(), noise_label[STEPS].double(), label)
    torch.testing.assert_close(network(x, STEPS, label), expected.float(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_with_the_tables_of_a_chain_it_gives_the_noise_that_their_denoiser_removes() -> None:
    shape = Shape()
    weights, network = theirs.drawn(shape), made(shape)
    chain = edm_chain(T, 0.01, 40.0, 0.5)
    network.load_state_dict(ours(shape, weights) | chain.tables, strict=True)
    x_t, alpha_bar = images(shape), (1 - chain.beta).cumprod(0)[STEPS][:, None, None, None]
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x = x_t / alpha_bar.sqrt()
    removed = (x - Denoiser(shape, weights, "edm")(x, sigma.flatten(), None)) / sigma
    torch.testing.assert_close(network(x_t, STEPS), removed.float(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_scales_are_of_what_it_takes_and_of_what_it_adds() -> None:
    """eps_hat = skip_scale x_t + output_scale F(input_scale x_t)"""
    shape = Shape()
    network, x_t = made(shape), images(shape)
    state = ours(shape, theirs.drawn(shape))
    network.load_state_dict(state | tables(skip_scale=torch.zeros(T)))
    F_of_half = network(x_t / 2, STEPS)
    scales = {"input_scale": 0.5, "skip_scale": 3.0, "output_scale": -2.0}
    of = {name: torch.full((T,), scale) for name, scale in scales.items()}
    network.load_state_dict(state | tables(**of))
    torch.testing.assert_close(network(x_t, STEPS), 3 * x_t - 2 * F_of_half, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 10])
def test_labels_are_needed_by_and_only_by_class_conditional_models(classes: int) -> None:
    shape = Shape(classes=classes)
    wrong = None if classes else torch.tensor([0, 0, 0])
    with pytest.raises(ValueError, match="label: needed by, and only by"):
        made(shape)(images(shape), STEPS, wrong)


@torch.no_grad()
def test_a_sum_keeps_the_variance_of_its_terms() -> None:
    """A block whose branch gives nothing divides its input by the root of 2."""
    block = Block(made(Shape()).config, 16, 16)
    block.conv1.weight.zero_()
    block.conv1.bias.zero_()
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(block(x, torch.zeros(2, 64)), x / 2**0.5)


@pytest.mark.parametrize(("resample", "side"), [(0.5, 2), (1.0, 4), (2.0, 8)])
def test_a_block_resizes_by_itself(resample: float, side: int) -> None:
    block = Block(made(Shape()).config, 16, 32, resample=resample)
    assert block(torch.zeros(1, 16, 4, 4), torch.zeros(1, 64)).shape == (1, 32, side, side)
