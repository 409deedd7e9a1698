"""The terms of the bound as steps of a table, so that whoever runs samplers can compute them, too.

Step k, of T, looks at a state x_t of the code's t = k that was drawn from q(x_t | x_0), and leads
nowhere: its next state is sigma_t z, which tells a learned sigma_t, or 0. A term follows from
x_0_hat and that.
"""

import torch
from torch import Tensor

from diffusion.bound import Reverse, term_nats
from diffusion.config import Variance
from diffusion.process import Process
from diffusion.sampler_table import SamplerTable, StepCoefficients


def bound_table(process: Process, variance: Variance) -> SamplerTable:
    """Make the table of all terms: row k is that of the code's t = k."""
    q = process
    zero = torch.zeros_like(q.alpha_bar)
    is_learned = variance == "learned_range"
    coefficients = StepCoefficients(
        sqrt_alpha_bar=q.x_0_divisor,
        sqrt_one_minus_alpha_bar=(1 - q.alpha_bar).sqrt(),
        c_x=zero,
        c_0=zero,
        c_h1=zero,
        c_h2=zero,
        c_h3=zero,
        p_x=zero,
        p_0=torch.ones_like(zero),
        c_z=torch.ones_like(zero) if is_learned else zero,
        log_sigma_small=q.log_beta_tilde / 2 if is_learned else zero,
        log_sigma_large=q.beta.log() / 2 if is_learned else zero,
        k_0=zero,
        k_z=zero,
    )
    return SamplerTable(q.timesteps, coefficients, tuple(range(1, q.num_timesteps + 1)) + (0,))


def nats_of_steps(
    process: Process,
    variance: Variance,
    x_0: Tensor,
    t: Tensor,
    x_0_hat: Tensor,
    x_next: Tensor,
    z: Tensor | None,
) -> Tensor:
    """Compute the terms L_t (B,) of images x_0 (B,C,H,W) at the code's t (B,), float64 in nats,
    from what the steps made. `z` is the steps' noise; it is looked at only for a learned
    variance."""
    if variance == "learned_range" and z is not None:
        sigma = torch.where(z == 0, 1.0, x_next.double() / z.double())
        log_variance = 2 * sigma.log()
    else:
        table = Reverse(_nothing, process, variance).log_variance_table
        log_variance = table.to(t.device)[t][:, None, None, None]
    return term_nats(process, x_0.double(), t, x_0_hat.double(), log_variance)


def _nothing(x_t: Tensor, _t: Tensor, _label: Tensor | None) -> Tensor:
    return x_t
