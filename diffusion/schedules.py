"""The noise schedules: the betas of a forward process, by name. Tables (T,) are float64."""

import math

import torch
from torch import Tensor

from diffusion.config import ProcessConfig
from diffusion.fields import ConfigError

NOISE_LIMIT = 1e-3
"""A chain whose alpha_bar_T is above this does not end in noise."""
LEAST_ALPHA_BAR = 1e-70
"""Below it sqrt(alpha_bar), by which eq. 15 divides, is near the end of float32's range."""


def linear_beta(num_timesteps: int, start: float | None = None, end: float | None = None) -> Tensor:
    """Return the paper's betas (T,), 1e-4 to 0.02 (section 4), scaled by 1000/T unless given."""
    # The paper has T = 1000. Scaled, a chain of any length ends with about the same alpha_bar_T.
    scale = 1000 / num_timesteps
    start = 1e-4 * scale if start is None else start
    end = 0.02 * scale if end is None else end
    return torch.linspace(start, end, num_timesteps, dtype=torch.float64)


def scaled_linear_beta(num_timesteps: int, start: float, end: float) -> Tensor:
    """Return betas (T,) whose square roots rise linearly, as in latent diffusion."""
    root = torch.linspace(math.sqrt(start), math.sqrt(end), num_timesteps, dtype=torch.float64)
    return root**2


def cosine_beta(num_timesteps: int, offset: float = 0.008, limit: float = 0.999) -> Tensor:
    """Return the betas (T,) of an alpha_bar that is a squared cosine (Nichol & Dhariwal 2021,
    eq. 17), at most `limit`."""
    u = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)  # t_paper / T, from 0
    # f(t) of eq. 17 there. Its division by f(0) cancels in the ratio below.
    alpha_bar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    # beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}; at the end, where alpha_bar is 0, it would be 1.
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=limit)


def log_snr_beta(num_timesteps: int, largest: float, smallest: float) -> Tensor:
    """Return the betas (T,) of a log SNR that falls linearly from `largest` to `smallest`.

    Each step then counts in the bound as much as its squared error of eps_hat does in L_simple, but
    for a factor that is the same at every t (Kingma et al. 2021), so the two are close.
    """
    # SNR = alpha_bar / (1 - alpha_bar), so alpha_bar = sigmoid(log SNR). beta_1 = 1 - alpha_bar_1.
    alpha_bar = torch.linspace(largest, smallest, num_timesteps, dtype=torch.float64).sigmoid()
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def sigmoid_beta(
    num_timesteps: int, start: float | None = None, end: float | None = None
) -> Tensor:
    """Return betas (T,) that rise from `start` to `end` along a sigmoid, over -6 to 6 (Xu et al.
    2022, GeoDiff); without these as `linear_beta` has them."""
    scale = 1000 / num_timesteps
    start = 1e-4 * scale if start is None else start
    end = 0.02 * scale if end is None else end
    u = torch.linspace(-6, 6, num_timesteps, dtype=torch.float64)
    return u.sigmoid() * (end - start) + start


def laplace_beta(num_timesteps: int, offset: float = 1e-6, limit: float = 0.999) -> Tensor:
    """Return the betas (T,) of a log SNR that is dense around 0, with Laplace's distribution (Hang
    et al. 2024), as diffusers has them: at most `limit`.

    diffusers takes the root of the alpha_bar that follows from the log SNR for alpha_bar. So the
    chain ends at 0.03, not in noise.
    """
    u = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64) - 0.5  # t_paper / T - 1/2
    log_snr = torch.where(u > 0, 0.5, -0.5) * torch.log(1 - 2 * u.abs() + offset)
    alpha_bar = log_snr.sigmoid().sqrt()
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=limit)


def with_zero_terminal_snr(beta: Tensor) -> Tensor:
    """Return the betas (T,) of the same chain with sqrt(alpha_bar) shifted and scaled so that its
    first value stays, and its last is 0 (Lin et al. 2023, Algorithm 1). Needs two steps."""
    root = torch.cumprod(1 - beta, dim=0).sqrt()
    alpha_bar = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def make_beta(config: ProcessConfig) -> Tensor:
    """Make the betas (T,) that a config describes.

    Raises ConfigError as `check_beta` does, and where alpha_bar_T is 0 and the network predicts
    eps, which is x_T there and says nothing of x_0.
    """
    beta = _named(config)
    if config.zero_terminal_snr:
        beta = with_zero_terminal_snr(beta)
    check_beta(beta)
    if beta[-1] == 1 and config.prediction == "eps":
        raise ConfigError(
            "prediction: 'eps' is not allowed where the last beta is 1: alpha_bar_T is 0, and x_T "
            "holds nothing of the image; it must be x_0 or v"
        )
    return beta


def has_zero_snr(config: ProcessConfig) -> bool:
    """Is nothing left of the image at t = T? Raises ConfigError as `make_beta` does."""
    return bool(make_beta(config)[-1] == 1)


def _named(config: ProcessConfig) -> Tensor:
    """The betas of a config's schedule, before alpha_bar_T is made 0."""
    T = config.num_timesteps
    start, end = config.beta_start, config.beta_end
    match config.schedule:
        case "linear":
            return linear_beta(T, start, end)
        case "scaled_linear":
            return scaled_linear_beta(T, start or 1e-4, end or 0.02)
        case "cosine":
            return cosine_beta(T)
        case "sigmoid":
            return sigmoid_beta(T, start, end)
        case "laplace":
            return laplace_beta(T)
        case "log_snr":
            return log_snr_beta(T, config.log_snr_max, config.log_snr_min)
        case "table":
            return torch.tensor(config.beta_table, dtype=torch.float64)


def check_beta(beta: Tensor) -> None:
    """Raise ConfigError unless the betas (T,) are between 0 and 1, where the last may be 1, and
    float32 can hold sqrt(alpha_bar) of all others."""
    inside = (beta > 0) & (beta < 1)
    inside[-1:] |= beta[-1:] == 1
    if not bool(inside.all()):
        t = int(inside.logical_not().nonzero()[0])
        raise ConfigError(
            f"beta: {beta[t]:g} at t = {t + 1} is not allowed; it must be in (0, 1), and the last "
            "at most 1"
        )
    alpha_bar = torch.cumprod(1 - beta, dim=0)
    gone = (alpha_bar < LEAST_ALPHA_BAR).nonzero().flatten()
    if len(gone) and (gone[0] < len(beta) - 1 or beta[-1] < 1):
        raise ConfigError(
            f"beta: alpha_bar is below {LEAST_ALPHA_BAR:g} from t = {gone[0] + 1} of {len(beta)} "
            "on, so those steps only add noise to noise; the betas must be smaller, or fewer"
        )


def noise_left(alpha_bar_T: float) -> str:
    """Say that a chain does not end in noise, in words."""
    return (
        f"the process does not end in noise: alpha_bar_T = {alpha_bar_T:.3g} is above "
        f"{NOISE_LIMIT:g}, so samples that start from N(0, I) will be off"
    )
