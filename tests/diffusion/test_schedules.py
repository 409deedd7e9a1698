"""The noise schedules against their formulas and diffusers' tables."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffusion.config import ProcessConfig, Schedule
from diffusion.fields import ConfigError
from diffusion.process import Process
from diffusion.schedules import (
    cosine_beta,
    has_zero_snr,
    laplace_beta,
    linear_beta,
    log_snr_beta,
    make_beta,
    scaled_linear_beta,
    sigmoid_beta,
    with_zero_terminal_snr,
)

T = 1000


@pytest.mark.parametrize("num_timesteps", [100, 500, 4000])
def test_linear_betas_are_scaled_so_that_other_chains_end_in_the_same_noise(
    num_timesteps: int,
) -> None:
    beta = linear_beta(num_timesteps)
    assert beta[0].item() == pytest.approx(0.1 / num_timesteps)
    assert beta[-1].item() == pytest.approx(20 / num_timesteps)
    end = Process.from_beta(beta).alpha_bar[-1].item()
    assert 1e-6 < end < 1e-4


def test_cosine_betas_follow_their_alpha_bar() -> None:
    u = np.arange(T + 1) / T
    f = np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha_bar = torch.cumprod(1 - cosine_beta(T), 0)
    np.testing.assert_allclose(alpha_bar[:-1], (f / f[0])[1:-1], rtol=1e-9)
    assert cosine_beta(T)[-1] == 0.999


def test_log_snr_falls_evenly() -> None:
    process = Process.from_beta(log_snr_beta(T, 12.5, -9.0))
    np.testing.assert_allclose(process.snr.log(), np.linspace(12.5, -9, T), rtol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "beta"),
    [
        ("linear", linear_beta(T)),
        ("scaled_linear", scaled_linear_beta(T, 1e-4, 0.02)),
        ("squaredcos_cap_v2", cosine_beta(T)),
        ("sigmoid", sigmoid_beta(T, 1e-4, 0.02)),
        ("laplace", laplace_beta(T)),
    ],
)
def test_betas_equal_those_of_diffusers(schedule: str, beta: torch.Tensor) -> None:
    theirs = DDPMScheduler(T, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule).betas
    np.testing.assert_allclose(beta, theirs.double(), rtol=2e-6)


@pytest.mark.parametrize("num_timesteps", [7, 10, 1001])
def test_laplace_betas_equal_those_of_diffusers_for_odd_and_even_chains(num_timesteps: int) -> None:
    theirs = DDPMScheduler(num_timesteps, beta_schedule="laplace").betas
    np.testing.assert_allclose(laplace_beta(num_timesteps), theirs.double(), rtol=2e-6)


def test_sigmoid_betas_rise_to_the_same_noise_in_chains_of_any_length() -> None:
    for num_timesteps in (100, 500, 4000):
        beta = make_beta(ProcessConfig(num_timesteps, "sigmoid"))
        assert bool((beta.diff() > 0).all())
        assert 1e-6 < Process.from_beta(beta).alpha_bar[-1] < 1e-4


@pytest.mark.parametrize(
    ("schedule", "ours"),
    [
        ("linear", "linear"),
        ("scaled_linear", "scaled_linear"),
        ("squaredcos_cap_v2", "cosine"),
        ("sigmoid", "sigmoid"),
    ],
)
def test_zero_terminal_snr_is_the_table_of_diffusers(schedule: str, ours: Schedule) -> None:
    options: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.02}
    theirs = DDPMScheduler(
        T, beta_schedule=schedule, rescale_betas_zero_snr=True, **options
    ).alphas_cumprod
    config = ProcessConfig(T, ours, **options, zero_terminal_snr=True, prediction="v")
    alpha_bar = Process.from_config(config).alpha_bar
    assert alpha_bar[-1] == 0 == theirs[-1]
    np.testing.assert_allclose(alpha_bar, theirs.double(), rtol=2e-3, atol=1e-8)
    assert has_zero_snr(config) and not has_zero_snr(
        dataclasses.replace(config, zero_terminal_snr=False)
    )


def test_zero_terminal_snr_changes_no_other_end_and_nothing_twice() -> None:
    beta = linear_beta(T)
    changed = with_zero_terminal_snr(beta)
    assert changed[0].item() == pytest.approx(beta[0].item(), rel=1e-9)
    assert changed[-1] == 1
    torch.testing.assert_close(with_zero_terminal_snr(changed), changed, rtol=1e-12, atol=1e-15)


def test_a_network_that_predicts_eps_needs_something_left_of_the_image() -> None:
    with pytest.raises(
        ConfigError, match="zero_terminal_snr: True is not allowed; .* predicts eps"
    ):
        ProcessConfig(zero_terminal_snr=True)
    with pytest.raises(
        ConfigError, match="prediction: 'eps' is not allowed where the last beta is 1"
    ):
        make_beta(ProcessConfig(2, "table", beta_table=(0.5, 1.0)))
    assert has_zero_snr(ProcessConfig(2, "table", beta_table=(0.5, 1.0), prediction="x_0"))
    with pytest.raises(ConfigError, match="zero_terminal_snr: True .* single step"):
        ProcessConfig(1, zero_terminal_snr=True, prediction="v")
