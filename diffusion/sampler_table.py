"""What every sampler is: a table of kept timesteps and coefficients.

With x_0_hat = clip((x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t)), each step of every
sampler here is one linear update

    x_next = c_x x_t + c_0 x_0_hat + c_h1 m_1 + c_h2 m_2 + c_h3 m_3 + c_z z
    m      = p_x x_t + p_0 x_0_hat

where m is what a step remembers, and m_j what the step j before it did: the history of multi-step
samplers. A table has a row of these coefficients for each step, made in float64.
`diffusion.samplers` makes the tables, `diffusion.reverse` takes the steps.

Where a part of the image is known, that part of each next state is drawn anew from it (RePaint):

    x_next <- mask x_next + (1 - mask) (k_0 x_0 + k_z w)

The rows are in the order in which a chain takes them. Most chains go from noise to the image; those
of `diffusion.repaint` go back up on the way, those of `diffusion.inversion` only up. Whoever runs a
table needs to know nothing of that: step k takes row k, and draw k + 1.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from diffusion.process import Process
from diffusion.spacing import Spacing

HISTORY = 3
"""How many steps back a sampler may look."""


class StepCoefficients(NamedTuple):
    """What one reverse step multiplies with what, under the names of the formulas.

    A sampler has each as a column over its S steps, (S,) float64; `reverse.step` has each gathered
    for its batch, (B,1,1,1) float32. The order is that of the columns of `SamplerTable.rows`.
    """

    sqrt_alpha_bar: Tensor  # this and the next turn eps_hat into x_0_hat (eq. 15); 1 for a 0
    sqrt_one_minus_alpha_bar: Tensor
    c_x: Tensor  # times x_t
    c_0: Tensor  # times x_0_hat
    c_h1: Tensor  # times what the step before remembers, and those two and three before
    c_h2: Tensor
    c_h3: Tensor
    p_x: Tensor  # a step remembers p_x x_t + p_0 x_0_hat: x_0_hat itself, or eps_hat
    p_0: Tensor
    c_z: Tensor  # times z; 0 at the last step
    log_sigma_small: Tensor  # the ends of a learned range, between which v chooses a factor of c_z;
    log_sigma_large: Tensor  # 0 for samplers that do not ask v
    k_0: Tensor  # where the image is known: times x_0
    k_z: Tensor  # and times w, the noise of the known part

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """Name the columns of rows (B, 14, …), without a copy."""
        return cls(*rows.unbind(1))

    @property
    def c_h(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the history is multiplied with, the latest first."""
        return self.c_h1, self.c_h2, self.c_h3


@dataclass(frozen=True)
class SamplerTable:
    """A sampler over S steps, in the order in which they are taken.

    `t` (S,) int64 is what the network is told; each column of `coefficients` is (S,) float64.
    `paper_t` is the paper's t of each of the S + 1 states, 0 the image.
    """

    t: Tensor
    coefficients: StepCoefficients
    paper_t: tuple[int, ...]

    def __len__(self) -> int:
        """S, the number of steps."""
        return len(self.t)

    @classmethod
    def over(
        cls,
        q: Process,
        c_x: Tensor,
        c_0: Tensor,
        *,
        c_h: Tensor | None = None,
        remembers: tuple[Tensor, Tensor] | None = None,
        c_z: Tensor | None = None,
        log_sigma: tuple[Tensor, Tensor] | None = None,
    ) -> Self:
        """Make the table of coefficients that are given over increasing t, each (S,).

        `q` is the chain over the kept timesteps, `c_h` (S, 0..3) has a column for each step back,
        `remembers` p_x and p_0: x_0_hat, unless given. Others that are left out are 0.
        """
        zero = torch.zeros_like(q.alpha_bar)
        c_z = zero if c_z is None else c_z.clone()
        c_z[0] = 0.0  # z = 0 at the last step, line 3 of Algorithm 2
        log_sigma_small, log_sigma_large = log_sigma or (zero, zero)
        p_x, p_0 = remembers or (zero, torch.ones_like(zero))
        given = [] if c_h is None else list(c_h.unbind(1))
        c_h1, c_h2, c_h3 = (*given, zero, zero, zero)[:HISTORY]
        increasing = StepCoefficients(
            sqrt_alpha_bar=q.x_0_divisor,
            sqrt_one_minus_alpha_bar=(1 - q.alpha_bar).sqrt(),
            c_x=c_x,
            c_0=c_0,
            c_h1=c_h1,
            c_h2=c_h2,
            c_h3=c_h3,
            p_x=p_x,
            p_0=p_0,
            c_z=c_z,
            log_sigma_small=log_sigma_small,
            log_sigma_large=log_sigma_large,
            k_0=q.alpha_bar_prev.sqrt(),  # q(x_prev | x_0), eq. 4
            k_z=(1 - q.alpha_bar_prev).sqrt(),
        )
        # A chain runs from high to low t.
        coefficients = StepCoefficients(*(column.flip(0) for column in increasing))
        return cls(q.timesteps.flip(0), coefficients, Spacing(tuple(q.timesteps.tolist())).paper_t)

    @cached_property
    def rows(self) -> Tensor:
        """The coefficients as `reverse.step` takes them: (S, 14, 1, 1, 1) float32, a row for each
        step, in the shape that multiplies images."""
        rows = torch.stack(self.coefficients, dim=1)  # (S, 14), still float64
        return rows.float()[:, :, None, None, None]  # rounded once, to the images' dtype

    def steps_within(self, t_high: int, t_low: int) -> frozenset[int]:
        """Return the positions of the steps that begin at one of the paper's t in t_low..t_high."""
        return frozenset(k for k, t in enumerate(self.paper_t[:-1]) if t_low <= t <= t_high)

    @cached_property
    def is_noisy(self) -> list[bool]:
        """For each step k, whether it adds noise."""
        return [c_z != 0 for c_z in self.coefficients.c_z.tolist()]

    @cached_property
    def depth(self) -> int:
        """How many steps back the sampler looks: 0..3."""
        return max((j for j, c in enumerate(self.coefficients.c_h, start=1) if c.any()), default=0)

    @cached_property
    def remembers_mix(self) -> bool:
        """Whether its steps remember anything else than x_0_hat."""
        return bool(self.coefficients.p_x.any())

    @cached_property
    def last_draw(self) -> int:
        """The number of the last draw of noise that a sample needs: draw 0 is x_T, draw k + 1 the
        z of step k."""
        return max((k + 1 for k, is_noisy in enumerate(self.is_noisy) if is_noisy), default=0)
