"""Classifier-free guidance: how two estimates become one."""

import torch
from torch import Tensor

from diffusion.guidance import combine_guided

SHAPE = (1, 4, 4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_guidance_moves_away_from_the_unlabelled_estimate() -> None:
    label, null = draw(2, *SHAPE), draw(2, *SHAPE, seed=1)
    w = torch.tensor([0.0, 2.5])
    guided = combine_guided(label, null, w, num_channels=1)
    torch.testing.assert_close(guided[0], label[0])
    torch.testing.assert_close(guided[1], 3.5 * label[1] - 2.5 * null[1])


def test_guidance_leaves_a_learned_variance_as_labelled() -> None:
    out, null = draw(2, 2, 4, 4), draw(2, 2, 4, 4, seed=1)
    guided = combine_guided(out, null, torch.tensor([1.0, 2.0]), num_channels=1)
    assert torch.equal(guided[:, 1:], out[:, 1:])
    torch.testing.assert_close(guided[0, :1], 2 * out[0, :1] - null[0, :1])
