"""DDIM backwards: from an image to the x_t from which DDIM makes it again.

DDIM with eta 0 follows an ordinary differential equation, which can be followed either way (Song,
Meng, Ermon 2021, section 4.3 and eq. 14). Its steps go up along the kept timesteps:

    x_next = sqrt(alpha_bar_next) x_0_hat + sqrt(1 - alpha_bar_next) eps_hat

The step to t has the eps_hat that the network gives when it is told t, as DDIM's step from t will
have it; the image itself, at t = 0, is not a state that the network knows. What is lost on the way
there and back is the difference between eps_hat at both ends of a step, which falls with the number
of steps.

x_0_hat is clipped as on the way down. A network that learned under the clip may say anything beyond
it (docs/editing.md, There and back): without one, that would be taken for noise on the way up, and
not come off again on the way down.
"""

import torch

from diffusion.process import Process
from diffusion.sampler_table import SamplerTable, StepCoefficients
from diffusion.spacing import Spacing


def inversion(process: Process, spacing: Spacing) -> SamplerTable:
    """Make the table of DDIM backwards, from x_0 up to the last kept timestep.

    Raises ValueError where nothing of the image is left there (alpha_bar = 0).
    """
    q = process.respace(torch.tensor(spacing.kept))
    if q.alpha_bar[-1] == 0:
        raise ValueError(
            f"t: {spacing.kept[-1] + 1} is not allowed: nothing of the picture is left there "
            "(zero terminal SNR); choose a lower t"
        )
    # x_next = scale x + direction eps_hat, with x_0_hat of eq. 15 at (x, t) put in
    scale = (q.alpha_bar / q.alpha_bar_prev).sqrt()
    sigma = (1 - q.alpha_bar).sqrt()
    direction = sigma - scale * (1 - q.alpha_bar_prev).sqrt()
    # eps_hat = (x - sqrt(alpha_bar) x_0') / sigma. This x_0' takes x for a state at t, which it is
    # nearly, so that it can be clipped as the estimate at t will be.
    share = direction / sigma
    down = SamplerTable.over(q, scale + share, -share * q.alpha_bar.sqrt())
    rising = StepCoefficients(*(column.flip(0) for column in down.coefficients))
    coefficients = rising._replace(k_0=q.alpha_bar.sqrt(), k_z=sigma)
    return SamplerTable(down.t.flip(0), coefficients, down.paper_t[::-1])
