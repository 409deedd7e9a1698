"""The forward process q and its posterior (eq. 1-7 and 15 of Ho, Jain, Abbeel 2020).

Tables over t are float64 of shape (T,): a product of a thousand alphas, or 1 - alpha_bar at small
t, would lose digits in float32. They are cast to the images' dtype only where they meet images.
How t is counted is said in `diffusion.spacing`.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion.config import ProcessConfig
from diffusion.schedules import NOISE_LIMIT, check_beta, make_beta, noise_left


class Gaussian(NamedTuple):
    """A Gaussian with independent elements: mean (B,C,H,W), variance (B,1,1,1)."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Process:
    """A Markov chain q(x_t | x_{t-1}) of T Gaussian steps, and everything eq. 2-7 derive from it.

    `beta` (T,) float64 in (0, 1). `timesteps` (T,) int64: what the network is told at each
    index; the index itself in a full chain, the original one in a respaced chain.
    """

    beta: Tensor
    timesteps: Tensor

    @classmethod
    def from_beta(cls, beta: Tensor) -> "Process":
        """Make a full chain, whose network is told 0..T-1.

        Raises ConfigError when a beta is not between 0 and 1, but that the last may be 1, with
        which nothing is left of x_0; and when as good as nothing is left before. Warns when x_T is
        not pure noise.
        """
        beta = beta.to(torch.float64)
        check_beta(beta)
        process = cls(beta, torch.arange(len(beta)))
        last = process.alpha_bar[-1].item()
        if last > NOISE_LIMIT:
            warnings.warn(noise_left(last), stacklevel=2)
        return process

    @classmethod
    def from_config(cls, config: ProcessConfig) -> "Process":
        """Make the chain that a config describes. Raises ConfigError and warns as `from_beta` does;
        raises ConfigError where alpha_bar_T is 0 and the network predicts eps."""
        return cls.from_beta(make_beta(config))

    @property
    def num_timesteps(self) -> int:
        """T, the number of steps."""
        return len(self.beta)

    @cached_property
    def alpha(self) -> Tensor:
        """alpha_t = 1 - beta_t, (T,): the share of the variance of x_{t-1} that a step keeps."""
        return 1 - self.beta

    @cached_property
    def alpha_bar(self) -> Tensor:
        """alpha_bar_t, the product of alpha_1..alpha_t (eq. 4)."""
        return torch.cumprod(self.alpha, dim=0)

    @cached_property
    def alpha_bar_prev(self) -> Tensor:
        """alpha_bar_{t-1}, (T,): that of the step before, with alpha_bar_0 = 1 for the image."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])

    @cached_property
    def x_0_divisor(self) -> Tensor:
        """What eq. 15 divides by, (T,): sqrt(alpha_bar_t), but 1 where alpha_bar_t is 0.

        There x_t is eps, whatever x_0 was, and eq. 15 has no solution. So that samplers see eps_hat
        alone, it stands for x_t - x_0_hat at that t: with a divisor of 1 the same formula gives
        x_0_hat back.
        """
        return torch.where(self.alpha_bar > 0, self.alpha_bar, 1.0).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """The signal-to-noise ratio of x_t, alpha_bar_t / (1 - alpha_bar_t)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def beta_tilde(self) -> Tensor:
        """beta~_t, the variance of the posterior (eq. 7); 0 at the paper's t = 1."""
        return (1 - self.alpha_bar_prev) / (1 - self.alpha_bar) * self.beta

    @cached_property
    def log_beta_tilde(self) -> Tensor:
        """log beta~_t, with beta~_1 = 0 replaced by beta~_2, as in the paper's code."""
        # log 0 would be -inf. A chain of one step has no beta~_2, so beta_1 stands in.
        first = self.beta_tilde[1:2] if self.num_timesteps > 1 else self.beta[:1]
        return torch.log(torch.cat([first, self.beta_tilde[1:]]))

    @cached_property
    def mu_tilde_x_0(self) -> Tensor:
        """The coefficient of x_0 in mu~_t, the mean of the posterior (eq. 7)."""
        return self.alpha_bar_prev.sqrt() * self.beta / (1 - self.alpha_bar)

    @cached_property
    def mu_tilde_x_t(self) -> Tensor:
        """The coefficient of x_t in mu~_t, the mean of the posterior (eq. 7)."""
        return self.alpha.sqrt() * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    def q_step(self, x_prev: Tensor, t: Tensor) -> Gaussian:
        """Return q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), eq. 2."""
        return Gaussian(_at(self.alpha.sqrt(), t, x_prev) * x_prev, _at(self.beta, t, x_prev))

    def q_mean_variance(self, x_0: Tensor, t: Tensor) -> Gaussian:
        """Return q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), eq. 4."""
        return Gaussian(_at(self.alpha_bar.sqrt(), t, x_0) * x_0, _at(1 - self.alpha_bar, t, x_0))

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps: a draw from q(x_t | x_0)
        (eq. 4, reparameterised)."""
        a, b = self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()
        return _at(a, t, x_0) * x_0 + _at(b, t, x_0) * eps

    def v(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans & Ho 2022)."""
        a, b = self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()
        return _at(a, t, x_0) * eps - _at(b, t, x_0) * x_0

    def q_posterior(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Gaussian:
        """Return q(x_{t-1} | x_t, x_0), eq. 6-7: mean mu~_t, variance beta~_t."""
        mean = _at(self.mu_tilde_x_0, t, x_0) * x_0 + _at(self.mu_tilde_x_t, t, x_t) * x_t
        return Gaussian(mean, _at(self.beta_tilde, t, x_t))

    def predict_x_0(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return x_0_hat = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t), eq. 15; of an
        alpha_bar_t of 0 as `x_0_divisor` says."""
        a, b = self.x_0_divisor, (1 - self.alpha_bar).sqrt()
        return (x_t - _at(b, t, x_t) * eps) / _at(a, t, x_t)

    def respace(self, kept: Tensor) -> "Process":
        """Make the shorter chain over the `kept` indices (strictly increasing int64).

        Its q(x_t | x_0) is that of this chain at the kept steps, and the network is still told this
        chain's timesteps; betas and posterior are those between kept steps (IDDPM, section 4).
        """
        # beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, with the kept step before for t - 1.
        alpha_bar = self.alpha_bar[kept]
        prev = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        return Process(1 - alpha_bar / prev, self.timesteps[kept])


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Gather table[t] as (B,1,1,1), in the dtype and on the device of `like`."""
    # Gathered in float64, and rounded once to the images' dtype.
    values = table.to(t.device)[t].to(device=like.device, dtype=like.dtype)
    return values.reshape(-1, *(1,) * (like.dim() - 1))  # (B,) -> (B,1,1,1)
