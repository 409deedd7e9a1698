"""Importance sampling of t: where the terms are large, and the same mean."""

import pytest
import torch

from diffusion.training.timestep_sampler import HISTORY, UNIFORM_SHARE, Importance, Uniform

T = 50
SIZES = torch.logspace(-3, 1, T, dtype=torch.float64)


def learnt(num_rounds: int = HISTORY) -> Importance:
    """Told of losses of SIZES, in rounds over all t."""
    times = Importance(T)
    for _ in range(num_rounds):
        times.note(torch.arange(T), SIZES)
    return times


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_uniform_times_are_uniform_and_weigh_one() -> None:
    t, weight = Uniform(T).draw(20_000, generator())
    share = torch.bincount(t, minlength=T) / 20_000
    torch.testing.assert_close(share, torch.full((T,), 1 / T), rtol=0.3, atol=0)
    assert (weight == 1).all()


def test_the_probabilities_are_those_of_iddpm() -> None:
    times = learnt()
    times.note(torch.tensor([7]), torch.tensor([30.0]))
    squares = SIZES.square()
    squares[7] = (9 * SIZES[7] ** 2 + 900) / 10
    expected = (1 - UNIFORM_SHARE) * squares.sqrt() / squares.sqrt().sum() + UNIFORM_SHARE / T
    torch.testing.assert_close(times.probabilities(), expected)


def test_it_is_uniform_until_every_t_has_its_history() -> None:
    times = learnt(HISTORY - 1)
    times.note(torch.arange(1, T), SIZES[1:])
    assert (times.probabilities() == 1 / T).all()
    times.note(torch.tensor([0]), SIZES[:1])
    assert times.probabilities()[-1] > 5 / T


def test_the_weighted_mean_is_that_over_uniform_times_with_less_noise() -> None:
    t, weight = learnt().draw(20_000, generator())
    estimate = weight.double() * SIZES[t]
    assert estimate.mean().item() == pytest.approx(SIZES.mean().item(), rel=0.02)
    assert estimate.std() < 0.2 * SIZES.std()


def test_a_larger_uniform_share_limits_the_weights() -> None:
    times = Importance(T, uniform_share=0.5)
    for _ in range(HISTORY):
        times.note(torch.arange(T), SIZES)
    t, weight = times.draw(20_000, generator())
    assert 1.9 < weight.max() <= 2
    estimate = weight.double() * SIZES[t]
    assert estimate.mean().item() == pytest.approx(SIZES.mean().item(), rel=0.03)


def test_old_losses_are_forgotten() -> None:
    times = learnt()
    for _ in range(HISTORY):
        times.note(torch.arange(T), torch.ones(T))
    torch.testing.assert_close(times.probabilities(), torch.full((T,), 1 / T).double())
