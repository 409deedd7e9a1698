"""The forward process against float64 formulas and diffusers' tables."""

import math

import numpy as np
import pytest
import torch

from diffusion.config import ProcessConfig
from diffusion.fields import ConfigError
from diffusion.process import Process
from diffusion.schedules import cosine_beta, linear_beta, log_snr_beta
from tests.diffusion.chain import draw

T = 1000


@pytest.fixture
def process() -> Process:
    return Process.from_beta(linear_beta(T))


def numpy_tables() -> tuple[np.ndarray, np.ndarray]:
    """beta and alpha_bar of the paper, in extended precision."""
    beta = np.linspace(1e-4, 0.02, T, dtype=np.longdouble)
    return beta, np.cumprod(1 - beta)


def test_tables_are_float64_and_equal_the_formulas(process: Process) -> None:
    beta, alpha_bar = numpy_tables()
    prev = np.concatenate([[1], alpha_bar[:-1]])
    expected = {
        "beta": beta,
        "alpha": 1 - beta,
        "alpha_bar": alpha_bar,
        "alpha_bar_prev": prev,
        "beta_tilde": (1 - prev) / (1 - alpha_bar) * beta,
        "mu_tilde_x_0": np.sqrt(prev) * beta / (1 - alpha_bar),
        "mu_tilde_x_t": np.sqrt(1 - beta) * (1 - prev) / (1 - alpha_bar),
    }
    for name, table in expected.items():
        assert getattr(process, name).dtype == torch.float64
        np.testing.assert_allclose(getattr(process, name), table.astype(float), rtol=1e-10)


def test_float32_tables_would_be_off_by_more_than_a_tenth_of_a_permille() -> None:
    _, alpha_bar = numpy_tables()
    beta32 = torch.linspace(1e-4, 0.02, T)
    single = 1 - torch.cumprod(1 - beta32, 0)[0].item()
    assert abs(single / float(1 - alpha_bar[0]) - 1) > 1e-4


def test_the_first_posterior_variance_is_zero_and_its_log_is_that_of_the_second(
    process: Process,
) -> None:
    assert process.beta_tilde[0] == 0
    assert process.log_beta_tilde[0] == process.log_beta_tilde[1] == process.beta_tilde[1].log()


def test_a_process_that_does_not_end_in_noise_warns() -> None:
    with pytest.warns(UserWarning, match="alpha_bar_T = 0.13"):
        Process.from_beta(linear_beta(200, 1e-4, 0.02))


@pytest.mark.parametrize("beta", [[0.0, 0.5], [1.0, 0.5], [0.1, 1.1], [-0.1, 0.5]])
def test_betas_outside_their_range_are_refused(beta: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"beta: .* at t = .* must be in \(0, 1\)"):
        Process.from_beta(torch.tensor(beta))


def test_a_chain_that_goes_on_long_after_the_image_is_gone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"alpha_bar is below 1e-70 from t = \d+ of 50000 on"):
        Process.from_beta(linear_beta(50_000, 1e-4, 0.02))


def test_where_nothing_is_left_of_the_image_eq_15_gives_back_what_stands_for_eps() -> None:
    """alpha_bar_T = 0: x_t - x_0_hat stands for eps_hat there, so that all else stays as it is."""
    process = Process.from_beta(torch.tensor([0.1, 0.5, 1.0]))
    assert process.alpha_bar[-1] == 0 and process.snr[-1] == 0
    x_0, eps = draw(2, 1, 4, 4, seed=1), draw(2, 1, 4, 4, seed=2)
    t = torch.tensor([2, 1])
    x_t = process.q_sample(x_0, t, eps)
    assert torch.equal(x_t[0], eps[0])
    stands_for_eps = torch.stack([x_t[0] - x_0[0], eps[1]])
    torch.testing.assert_close(process.predict_x_0(x_t, t, stands_for_eps), x_0)


def test_a_config_gives_its_schedule() -> None:
    table = (0.1, 0.5, 0.999)
    made = Process.from_config(ProcessConfig(3, "table", beta_table=table))
    assert made.beta.tolist() == list(table)
    assert torch.equal(Process.from_config(ProcessConfig(schedule="cosine")).beta, cosine_beta(T))
    even = ProcessConfig(T, "log_snr", log_snr_max=11.0, log_snr_min=-8.0)
    assert torch.equal(Process.from_config(even).beta, log_snr_beta(T, 11.0, -8.0))


def test_many_steps_of_eq_2_have_the_moments_of_eq_4(process: Process) -> None:
    x_0 = torch.tensor([-1.0, -0.25, 0.5, 1.0], dtype=torch.float64)[:, None, None, None]
    mean, variance = x_0, torch.zeros(1, dtype=torch.float64)
    for i in range(300):
        t = torch.full((4,), i)
        mean, added = process.q_step(mean, t)
        variance = process.alpha[i] * variance + added
    closed = process.q_mean_variance(x_0, torch.full((4,), 299))
    torch.testing.assert_close(mean, closed.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(variance, closed.variance, rtol=1e-12, atol=0)


def test_q_sample_and_predict_x_0_are_inverse(process: Process) -> None:
    x_0 = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    eps = torch.randn_like(x_0)
    t = torch.tensor([0, 500, 999])
    x_t = process.q_sample(x_0, t, eps)
    expected = process.alpha_bar[500].sqrt() * x_0[1] + (1 - process.alpha_bar[500]).sqrt() * eps[1]
    torch.testing.assert_close(x_t[1], expected)
    torch.testing.assert_close(process.predict_x_0(x_t, t, eps), x_0, rtol=1e-9, atol=1e-9)


def test_the_posterior_is_bayes_rule(process: Process) -> None:
    """q(x_{t-1} | x_t, x_0) from the product of two Gaussian densities in x_{t-1}."""
    x_0, x_t, i = 0.3, -0.8, 400
    alpha, beta = process.alpha[i].item(), process.beta[i].item()
    prev = process.alpha_bar_prev[i].item()
    # q(x_t | x_{t-1}) is a Gaussian in x_{t-1} around x_t / sqrt(alpha); q(x_{t-1} | x_0) is eq. 4
    precision = alpha / beta + 1 / (1 - prev)
    mean = (math.sqrt(alpha) * x_t / beta + math.sqrt(prev) * x_0 / (1 - prev)) / precision
    image = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    posterior = process.q_posterior(x_0 * image, x_t * image, torch.tensor([i]))
    assert posterior.mean.item() == pytest.approx(mean, rel=1e-10)
    assert posterior.variance.item() == pytest.approx(1 / precision, rel=1e-10)


def test_respacing_keeps_alpha_bar_and_tells_the_network_the_original_t(process: Process) -> None:
    kept = torch.tensor([3, 50, 51, 700, 999])
    short = process.respace(kept)
    torch.testing.assert_close(short.alpha_bar, process.alpha_bar[kept], rtol=1e-12, atol=0)
    assert torch.equal(short.timesteps, kept)
    assert torch.equal(short.respace(torch.tensor([1, 4])).timesteps, torch.tensor([50, 999]))
    every = process.respace(torch.arange(T))
    torch.testing.assert_close(every.beta, process.beta, rtol=1e-9, atol=0)
