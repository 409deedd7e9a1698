"""Samplers as tables, one `step` for all of them, and Algorithm 2 as a loop.

With x_0_hat = clip((x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t)), every sampler here
is one linear update

    x_next = c_x x_t + c_0 x_0_hat + c_h x_0_hat_previous + c_z z

so a sampler is the kept timesteps and a row of coefficients for each of them, made in float64. The
rows of one batch may belong to different samplers, to chains of different lengths, and be at
different steps of these. How t is counted is said in `diffusion.spacing`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from diffusion import exact_math, noise
from diffusion.config import Variance
from diffusion.guidance import Conditioning, Model, guided
from diffusion.process import Process
from diffusion.spacing import SamplerName, Spacing


class StepCoefficients(NamedTuple):
    """What one reverse step multiplies with what, under the names of the formulas.

    A sampler has each as a column over its S steps, (S,) float64; `step` has each gathered for its
    batch, (B,1,1,1) float32. The order is that of the columns of `SamplerTable.rows`.
    """

    sqrt_alpha_bar: Tensor  # this and the next turn eps_hat into x_0_hat (eq. 15)
    sqrt_one_minus_alpha_bar: Tensor
    c_x: Tensor  # times x_t
    c_0: Tensor  # times x_0_hat
    c_h: Tensor  # times the x_0_hat of the step before: the history of multi-step samplers
    c_z: Tensor  # times z; 0 at the last step
    log_sigma_small: Tensor  # the ends of a learned range, between which v chooses a factor of c_z;
    log_sigma_large: Tensor  # 0 for samplers that do not ask v

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """Name the columns of rows (B, 8, …), without a copy."""
        return cls(*rows.unbind(1))


@dataclass(frozen=True)
class SamplerTable:
    """A sampler over S steps, from noisy to clean.

    `t` (S,) int64 is what the network is told; each column of `coefficients` is (S,) float64.
    """

    t: Tensor
    coefficients: StepCoefficients

    def __len__(self) -> int:
        """S, the number of steps."""
        return len(self.t)

    @cached_property
    def rows(self) -> Tensor:
        """The coefficients as `step` takes them: (S, 8, 1, 1, 1) float32, a row for each step, in
        the shape that multiplies images."""
        rows = torch.stack(self.coefficients, dim=1)  # (S, 8), still float64
        return rows.float()[:, :, None, None, None]  # rounded once, to the images' dtype

    @cached_property
    def spacing(self) -> Spacing:
        """The kept timesteps, and the paper's t of each state."""
        return Spacing(tuple(self.t.flip(0).tolist()))

    @cached_property
    def is_noisy(self) -> list[bool]:
        """For each step k, whether it adds noise."""
        return [c_z != 0 for c_z in self.coefficients.c_z.tolist()]

    @cached_property
    def looks_back(self) -> list[bool]:
        """For each step k, whether it uses the x_0_hat of the step before."""
        return [c_h != 0 for c_h in self.coefficients.c_h.tolist()]

    @cached_property
    def last_draw(self) -> int:
        """The number of the last draw of noise that a sample needs: draw 0 is x_T, draw k + 1 the
        z of step k."""
        return max((k + 1 for k, is_noisy in enumerate(self.is_noisy) if is_noisy), default=0)


class Step(NamedTuple):
    """What one reverse step gives, each (B,C,H,W)."""

    x_prev: Tensor
    x_0_hat: Tensor


def ddpm(process: Process, kept: Tensor, variance: Variance = "fixed_small") -> SamplerTable:
    """Algorithm 2 over the kept timesteps: mu~ of eq. 7 at x_0_hat, plus sigma_t z.

    sigma_t^2 is beta~_t (`fixed_small`), beta_t (`fixed_large`, right for the full chain only), or
    what the network says between these (`learned_range`, Nichol & Dhariwal 2021, eq. 15).
    """
    q = process.respace(kept)  # its betas are those between kept timesteps
    c_x, c_0 = q.mu_tilde_x_t, q.mu_tilde_x_0
    # sigma_t^2, section 3.2: beta~_t is right where x_0 is one point, beta_t where it is N(0, I)
    match variance:
        case "fixed_small":
            return _table(q, c_x, c_0, c_z=q.beta_tilde.sqrt())
        case "fixed_large":
            return _table(q, c_x, c_0, c_z=q.beta.sqrt())
        case "learned_range":
            ends = (0.5 * q.log_beta_tilde, 0.5 * q.beta.log())  # log sigma is half log sigma^2
            # c_z is 1: `step` multiplies z by the sigma that v chooses
            return _table(q, c_x, c_0, c_z=torch.ones_like(q.beta), log_sigma=ends)


def ddim(process: Process, kept: Tensor, eta: float = 0.0) -> SamplerTable:
    """DDIM (Song, Meng, Ermon 2021, eq. 12 and 16): `eta` 0 adds no noise, 1 as much as Algorithm 2
    with `fixed_small`."""
    q = process.respace(kept)
    sigma = eta * q.beta_tilde.sqrt()  # eq. 16
    # Eq. 12: x_prev = sqrt(alpha_bar_prev) x_0_hat + direction eps_hat + sigma z, with the eps_hat
    # of the clipped x_0_hat: (x_t - sqrt(alpha_bar) x_0_hat) / sqrt(1 - alpha_bar).
    # Rounding must not take the root's argument below 0, near which it is at the last steps.
    direction = (1 - q.alpha_bar_prev - sigma**2).clamp(min=0).sqrt()
    c_x = direction / (1 - q.alpha_bar).sqrt()
    # That eps_hat has a part in x_t, c_x, and one in x_0_hat, which joins its coefficient
    c_0 = q.alpha_bar_prev.sqrt() - c_x * q.alpha_bar.sqrt()
    return _table(q, c_x, c_0, c_z=sigma)


def dpmpp(process: Process, kept: Tensor) -> SamplerTable:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), first order at the first and last step."""
    q = process.respace(kept)
    # Their alpha_t and sigma_t; `prev` is the less noisy end of a step, their t_i
    alpha, sigma = q.alpha_bar.sqrt(), (1 - q.alpha_bar).sqrt()
    alpha_prev, sigma_prev = q.alpha_bar_prev.sqrt(), (1 - q.alpha_bar_prev).sqrt()
    half_log_snr = alpha.log() - sigma.log()  # lambda
    # h_i = lambda_{t_i} - lambda_{t_{i-1}}; infinite at the last step, which ends at sigma = 0
    h = torch.cat([torch.full((1,), torch.inf, dtype=torch.float64), half_log_snr.diff().neg()])
    c_data = alpha_prev * -torch.expm1(-h)  # the weight of D, eq. 9 there
    # r compares h of the step before: the index above, since the chain runs from high to low t.
    ratio = torch.cat([h[1:], torch.full((1,), torch.inf, dtype=torch.float64)]) / h
    # D = (1 + 1 / 2r) x_0_hat - 1 / 2r x_0_hat_previous
    # x_prev = (sigma_prev / sigma) x_t + c_data D; D's two parts go to c_0 and c_h
    c_h = -c_data / (2 * ratio)
    c_h[0] = 0.0  # the chain's last step, to alpha_bar = 1: h is infinite, the first order exact
    c_h[-1] = 0.0  # its first step: there is no history yet
    return _table(q, sigma_prev / sigma, c_data - c_h, c_h=c_h)


def make_table(
    process: Process,
    sampler: SamplerName,
    num_steps: int,
    *,
    eta: float = 0.0,
    variance: Variance = "fixed_small",
) -> SamplerTable:
    """Make the sampler of that name over evenly spaced timesteps.

    `eta` applies to ddim, `variance` to ddpm. Raises ValueError unless 1 <= num_steps <= T.
    """
    kept = torch.tensor(Spacing.even(process.num_timesteps, num_steps).kept)  # (S,), increasing
    match sampler:
        case "ddpm":
            return ddpm(process, kept, variance)
        case "ddim":
            return ddim(process, kept, eta)
        case "dpmpp":
            return dpmpp(process, kept)


def _table(
    q: Process,
    c_x: Tensor,
    c_0: Tensor,
    *,
    c_h: Tensor | None = None,
    c_z: Tensor | None = None,
    log_sigma: tuple[Tensor, Tensor] | None = None,
) -> SamplerTable:
    """A table of coefficients that are given over increasing t, each (S,); those left out are 0."""
    zero = torch.zeros_like(q.alpha_bar)
    c_z = zero if c_z is None else c_z.clone()
    c_z[0] = 0.0  # z = 0 at the last step, line 3 of Algorithm 2
    log_sigma_small, log_sigma_large = log_sigma or (zero, zero)
    increasing = StepCoefficients(
        sqrt_alpha_bar=q.alpha_bar.sqrt(),
        sqrt_one_minus_alpha_bar=(1 - q.alpha_bar).sqrt(),
        c_x=c_x,
        c_0=c_0,
        c_h=zero if c_h is None else c_h,
        c_z=c_z,
        log_sigma_small=log_sigma_small,
        log_sigma_large=log_sigma_large,
    )
    # A chain runs from high to low t.
    coefficients = StepCoefficients(*(column.flip(0) for column in increasing))
    return SamplerTable(q.timesteps.flip(0), coefficients)


def step(
    x_t: Tensor,
    out: Tensor,
    x_0_hat_previous: Tensor | None,
    z: Tensor | None,
    rows: Tensor,
    clip: float | None = 1.0,
) -> Step:
    """Take one reverse step with every row of the batch, each by its own coefficients.

    All images are (B,C,H,W). `out` is what a Model gives at x_t. `rows` (B, 8, 1, 1, 1) are taken
    from `SamplerTable.rows` and lie on the CPU. `x_0_hat_previous` may be None where no row has a
    c_h, and `z` where none has a c_z; a row without c_z has z = 0.

    Only IEEE +, *, / and clip are used, each a kernel of its own, so that a row's result does not
    depend on the batch. Tensors made here are updated in place, for speed.
    """
    c = StepCoefficients.of(rows if rows.device == x_t.device else rows.to(x_t.device))
    C = x_t.shape[1]
    # Eq. 15. The clip comes before the mean: images are in [-1, 1], and so should x_0_hat be
    eps_hat = out.narrow(1, 0, C)
    x_0_hat = (x_t - c.sqrt_one_minus_alpha_bar * eps_hat).div_(c.sqrt_alpha_bar)
    if clip is not None:
        x_0_hat = x_0_hat.clamp_(-clip, clip)
    # The mean of x_prev; for Algorithm 2 mu~ of eq. 7
    x_prev = (c.c_x * x_t).add_(c.c_0 * x_0_hat)
    if x_0_hat_previous is not None:
        x_prev = x_prev.add_(c.c_h * x_0_hat_previous)
    # The noise, sigma_t z: line 4 of Algorithm 2
    if z is None:
        return Step(x_prev.add_(0.0), x_0_hat)  # makes -0 into 0, as adding 0 z would
    if out.shape[1] > C:
        z = _scaled_by_v(z, out[:, C:], c, rows)
    return Step(x_prev.add_(c.c_z * z), x_0_hat)


def _scaled_by_v(z: Tensor, v: Tensor, c: StepCoefficients, rows: Tensor) -> Tensor:
    """z times the learned sigma (Nichol & Dhariwal 2021, eq. 15), in the rows that add noise.

    The other rows may belong to samplers that do not ask v, where it may be anything.
    """
    # Looked up on the CPU, where the rows lie: a GPU would have to be waited for.
    noisy = StepCoefficients.of(rows).c_z.flatten().nonzero().flatten().to(z.device)
    # v = -1 chooses the small end, v = 1 the large one
    log_sigma = c.log_sigma_small + (v + 1) / 2 * (c.log_sigma_large - c.log_sigma_small)
    # In float64, as `exact_math` works; it gives the same bits for a row in any batch
    sigma = exact_math.exp(log_sigma[noisy].double()).to(z.dtype)
    return z.index_copy(0, noisy, z[noisy] * sigma)


class State(NamedTuple):
    """A state of a batch of chains: the paper's t (0: done), x_t and x_0_hat, each (B,C,H,W)."""

    t: int
    x_t: Tensor
    x_0_hat: Tensor


@torch.no_grad()
def sample(
    model: Model,
    table: SamplerTable,
    seeds: Tensor,
    indices: Tensor,
    shape: tuple[int, int, int],
    condition: Conditioning,
    clip: float | None = 1.0,
) -> Iterator[State]:
    """Run Algorithm 2, or another sampler: yield the S + 1 states x_T … x_0 of a batch.

    `seeds` and `indices` (B,) int64 name the samples: sample i of seed s is always the same,
    whatever its batch. `shape` is (C,H,W); `clip` is the limit of x_0_hat, or None.
    """
    spacing = table.spacing
    x_t = noise.normal(seeds, indices, torch.zeros_like(seeds), shape)  # 1: x_T ~ N(0, I)
    x_0_hat = None
    for k, t in enumerate(spacing.network_t):  # 2: for t = T, …, 1
        z = None
        if table.is_noisy[k]:  # 3: z ~ N(0, I) if t > 1, else z = 0
            z = noise.normal(seeds, indices, torch.full_like(seeds, k + 1), shape)
        out = guided(model, x_t, torch.full_like(seeds, t), condition)
        rows = table.rows[k].expand(len(x_t), -1, 1, 1, 1)
        x_prev, x_0_hat = step(x_t, out, x_0_hat, z, rows, clip)  # 4
        yield State(spacing.paper_t[k], x_t, x_0_hat)
        x_t = x_prev
    yield State(0, x_t, x_t)  # 6: return x_0
