"""Where chains begin that do not begin at noise."""

import math

import pytest
import torch
from torch import Tensor

from diffusion import noise
from diffusion.process import Process
from diffusion.starts import between_seeds, mixed, noised
from tests.diffusion.chain import SHAPE, draw

SEEDS, INDICES = torch.tensor([7, 7, 8]), torch.tensor([0, 5, 0])


def eps(seed: int, index: int) -> Tensor:
    """Draw 0 of a sample."""
    one = torch.tensor([1])
    return noise.normal(seed * one, index * one, 0 * one, SHAPE)[0]


def test_a_noised_picture_is_a_draw_of_q_by_draw_0_of_the_sample(process: Process) -> None:
    x_0, t = draw(3, *SHAPE).float().clamp(-1, 1), torch.tensor([0, 399, 999])
    found = noised(process, x_0, t, SEEDS, INDICES)
    for b, (seed, index) in enumerate(zip(SEEDS.tolist(), INDICES.tolist(), strict=True)):
        alpha_bar = math.prod(1 - (1e-4 + (0.02 - 1e-4) * s / 999) for s in range(t[b] + 1))
        z = eps(seed, index).double()
        expected = math.sqrt(alpha_bar) * x_0[b].double() + math.sqrt(1 - alpha_bar) * z
        torch.testing.assert_close(found[b].double(), expected, rtol=1e-6, atol=1e-6)
        alone = noised(process, x_0[[b]], t[[b]], SEEDS[[b]], INDICES[[b]])
        assert torch.equal(alone[0], found[b])


def test_two_pictures_are_noised_by_the_same_eps_and_mixed_linearly(process: Process) -> None:
    """Then it is the same as to noise their mixture."""
    first, second = (draw(3, *SHAPE, seed=s).float() for s in range(2))
    t, weights = torch.full((3,), 500), torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    noisy_first, noisy_second = (noised(process, x_0, t, SEEDS, INDICES) for x_0 in (first, second))
    found = mixed(noisy_first, noisy_second, weights)
    assert torch.equal(found[0], noisy_first[0]) and torch.equal(found[2], noisy_second[2])
    expected = noised(process, mixed(first, second, weights), t, SEEDS, INDICES)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_between_two_seeds_x_T_goes_along_the_sphere() -> None:
    weights = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    same = torch.full((4,), 3)
    found = between_seeds((1, 2), same, weights, SHAPE)
    a, b = eps(1, 3), eps(2, 3)
    assert torch.equal(found[0], a) and torch.equal(found[3], b), "each seed's own, to the byte"
    # appendix D.5 of the paper, in float64
    a, b = a.double(), b.double()
    theta = torch.arccos((a * b).sum() / (a.norm() * b.norm()))
    for w, x_T in zip(weights, found, strict=True):
        expected = (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
        torch.testing.assert_close(x_T.double(), expected, rtol=1e-5, atol=1e-6)
    alone = between_seeds((1, 2), same[:1], weights[1:2], SHAPE)
    assert torch.equal(alone[0], found[1])


def test_it_has_as_much_noise_on_the_way_as_at_the_ends() -> None:
    indices = torch.arange(200)
    halfway = torch.full((200,), 0.5, dtype=torch.float64)
    x_T = between_seeds((1, 2), indices, halfway, (1, 16, 16))
    assert x_T.std().item() == pytest.approx(1, abs=0.01)


def test_a_seed_and_itself_have_nothing_between_them() -> None:
    weights = torch.tensor([0.5], dtype=torch.float64)
    found = between_seeds((4, 4), torch.tensor([2]), weights, SHAPE)
    torch.testing.assert_close(found[0], eps(4, 2))
