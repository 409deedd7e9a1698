"""The paper's models as pesser/pytorch_diffusion has them: the same outputs here as there."""

import pytest
import torch
from diffusers import DDPMPipeline

from tests.diffusion.importing.conftest import Import, with_random_weights
from tests.diffusion.importing.paper_network import PaperNetwork, Shape

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
    checkpoint = import_network("pytorch-diffusion", theirs, f"--image-size={shape.size}")
    x_t = images(shape)
    with torch.no_grad():
        expected = theirs(x_t, T)
        torch.testing.assert_close(checkpoint.load()(x_t, T), expected, rtol=1e-5, atol=1e-5)
        pipeline = DDPMPipeline.from_pretrained(checkpoint.folder)
        found = pipeline.unet(x_t, T).sample
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
