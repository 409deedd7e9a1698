"""The running averages of the weights."""

import math

import pytest
import torch

from diffusion.training.ema import EMA, exponent, exponential, power_function


def test_the_average_warms_up_and_then_decays_as_told() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    ema = EMA(model, exponential(0.5))
    with torch.no_grad():
        model.weight.fill_(1.0)
    expected = 0.0
    for updates in range(20):
        ema.update(model, updates)
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay)
        assert ema.model.weight.item() == pytest.approx(expected, rel=1e-5)


def test_the_average_is_a_model_of_its_own_that_is_not_trained() -> None:
    linear = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(linear, torch.nn.Dropout(0.5))
    ema = EMA(model, exponential(0.5))
    assert not ema.model.training and model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    with torch.no_grad():
        linear.weight.add_(1.0)
    assert not torch.equal(ema.model.state_dict()["0.weight"], linear.weight)


@pytest.mark.parametrize("sigma_rel", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_exponent_gives_the_density_this_deviation(sigma_rel: float) -> None:
    """The density (gamma + 1) x^gamma is Beta(gamma + 1, 1), whose variance is well known."""
    low, high = 0.0, 1e6
    while high - low > 1e-13 * high:  # bisection: the deviation falls as gamma grows
        middle = (low + high) / 2
        a = middle + 1
        deviation = math.sqrt(a / ((a + 1) ** 2 * (a + 2)))
        low, high = (middle, high) if deviation > sigma_rel else (low, middle)
    assert exponent(sigma_rel) == pytest.approx(low, rel=1e-9)


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.25])
def test_a_power_function_weighs_a_step_by_its_share_of_the_integral(sigma_rel: float) -> None:
    """Step k of t weighs as the density does from (k - 1)/t to k/t; the start weighs nothing."""
    model = torch.nn.Linear(50, 1, bias=False).double()
    ema = EMA(model, power_function(sigma_rel))
    with torch.no_grad():
        ema.model.weight.fill_(1e6)
        for k in range(50):
            model.weight.zero_()
            model.weight[0, k] = 1.0
            ema.update(model, k)
    edges = torch.linspace(0, 1, 51, dtype=torch.float64) ** (exponent(sigma_rel) + 1)
    torch.testing.assert_close(ema.model.weight[0], edges.diff(), rtol=1e-9, atol=1e-15)


def test_the_warm_up_of_the_exponential_is_nearly_a_power_function() -> None:
    power = power_function(0.0905)
    assert exponent(0.0905) == pytest.approx(8, abs=0.01)
    assert all(abs(exponential(0.999)(n) - power(n)) < 2e-4 for n in range(600, 8991))
    assert exponential(0.999)(9100) == 0.999
