"""RePaint (Lugmayr et al. 2022): the rest of a picture of which a part is known, as a table.

In every step the known part of the next state is drawn from q(x_{t-1} | x_0), which is two columns
of any table (`reverse.with_known`). What is made beside it does not know enough of it, so the chain
jumps back up, x_{t-1+j} ~ q(x_{t-1+j} | x_{t-1}), and comes down again: Algorithm 1, lines 2 and
10.

A jump asks nothing of the network, so it is part of the step before it. That step ends at
c_x x_t + c_0 x_0_hat + c_z z, and the jump is sqrt(a) times that plus sqrt(1 - a) z', where a is
the ratio of both alpha_bar (eq. 4). Two independent Gaussians add up to one, so both together are

    sqrt(a) (c_x x_t + c_0 x_0_hat) + sqrt(a c_z^2 + 1 - a) z

with one draw. Of a variance that the network learned, both ends of its range are changed so. The
known part is drawn at the state after the jump. So a chain of L steps is a table with L rows, which
is run as any other.
"""

import torch

from diffusion.course import resampled
from diffusion.process import Process
from diffusion.sampler_table import SamplerTable, StepCoefficients


def repaint(table: SamplerTable, process: Process, resamplings: int, jump: int) -> SamplerTable:
    """Make the table of RePaint from that of a sampler: every part of the chain is made
    `resamplings` times, and a jump goes `jump` steps back up.

    `process` is the full chain. Raises ValueError for a sampler with a memory, whose history a jump
    would make void, and where the chain is too short for the jump.
    """
    moves = resampled(len(table), resamplings, jump)
    if resamplings == 1:
        return table
    if table.depth:
        raise ValueError("resamplings: they need a sampler without a memory: ddpm or ddim")
    step, to = torch.tensor(moves).unbind(1)
    # alpha_bar of the S + 1 states
    one = torch.ones(1, dtype=torch.float64)
    alpha_bar = torch.cat([process.alpha_bar[table.t], one])
    is_jump = to != step + 1
    a = torch.where(is_jump, alpha_bar[to] / alpha_bar[step + 1], 1.0)
    c = StepCoefficients(*(column[step] for column in table.coefficients))
    # c_z where the variance is the sampler's, the ends of its range where the network chooses
    is_learned = bool((table.coefficients.log_sigma_large != 0).any())
    c_z = c.c_z if is_learned else torch.where(is_jump, _after(a, c.c_z**2).sqrt(), c.c_z)
    small, large = (
        torch.where(is_jump & is_learned, 0.5 * _after(a, (2 * log_sigma).exp()).log(), log_sigma)
        for log_sigma in (c.log_sigma_small, c.log_sigma_large)
    )
    coefficients = c._replace(
        c_x=a.sqrt() * c.c_x,
        c_0=a.sqrt() * c.c_0,
        c_z=c_z,
        log_sigma_small=small,
        log_sigma_large=large,
        k_0=alpha_bar[to].sqrt(),
        k_z=(1 - alpha_bar[to]).sqrt(),
    )
    paper_t = (table.paper_t[0], *(table.paper_t[move.to] for move in moves))
    return SamplerTable(table.t[step], coefficients, paper_t)


def _after(a: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """The variance after a jump that keeps the share `a` of it."""
    return a * variance + (1 - a)
