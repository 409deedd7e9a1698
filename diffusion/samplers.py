"""Samplers as tables, one `step` for all of them, and Algorithm 2 as a loop.

With x0_hat = clip((x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t)), every sampler here
is one linear update

    x_next = c_x x_t + c_0 x0_hat + c_h x0_hat_previous + c_z z

so a sampler is the kept timesteps and a [steps, 4] table of coefficients, made in float64.
Rows of one batch may be of different samplers, lengths and positions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion import exact_math, noise
from diffusion.config import Variance
from diffusion.process import Process
from diffusion.spacing import SamplerName, evenly_spaced

Model = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x_t (B,C,H,W), t (B,) int64, label (B,) int64 or None) -> eps_hat (B,C,H,W), or, where the
network learned its variance, eps_hat and v, (B,2C,H,W)."""


C_Z = 5
"""The place of c_z in `SamplerTable.rows`."""


@dataclass(frozen=True)
class SamplerTable:
    """A sampler: what each of its S steps multiplies what with.

    `t` (S,) int64: what the network is told, from noisy to clean. `alpha_bar` (S,) float64 at
    these. `coefficients` (S, 4) float64: c_x, c_0, c_h, c_z; the last row's c_z is 0. `log_sigma`
    (S, 2) float64: the ends of a learned range, between which the network's v chooses a factor of
    c_z; zeros for samplers that do not ask it.
    """

    t: Tensor
    alpha_bar: Tensor
    coefficients: Tensor
    log_sigma: Tensor

    def __len__(self) -> int:
        """S, the number of steps."""
        return len(self.t)

    @cached_property
    def rows(self) -> Tensor:
        """(S, 8, 1, 1, 1) float32, what `step` takes, in the shape that multiplies images:
        sqrt(alpha_bar), sqrt(1 - alpha_bar), c_x, …, c_z, and log_sigma."""
        scales = torch.stack([self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()], dim=1)
        rows = torch.cat([scales, self.coefficients, self.log_sigma], dim=1).float()
        return rows[:, :, None, None, None]

    @cached_property
    def times(self) -> list[int]:
        """`t`, as Python's numbers."""
        times: list[int] = self.t.tolist()
        return times

    @cached_property
    def is_noisy(self) -> list[bool]:
        """Per step: does it add noise?"""
        return [c_z != 0 for c_z in self.coefficients[:, 3].tolist()]

    @cached_property
    def last_draw(self) -> int:
        """The last draw of a sample that it needs: 0 is x_T, k + 1 the z at position k."""
        return max((k + 1 for k, is_noisy in enumerate(self.is_noisy) if is_noisy), default=0)

    @cached_property
    def looks_back(self) -> list[bool]:
        """Per step: does it need the x0_hat of the step before?"""
        return [c_h != 0 for c_h in self.coefficients[:, 2].tolist()]


class Step(NamedTuple):
    """What one reverse step gives, each (B,C,H,W)."""

    x_prev: Tensor
    x_0_hat: Tensor


def ddpm(process: Process, kept: Tensor, variance: Variance = "fixed_small") -> SamplerTable:
    """Algorithm 2 over the kept timesteps: mu~ of eq. 7 at x0_hat, plus sigma_t z.

    sigma_t^2 is beta~_t (`fixed_small`), beta_t (`fixed_large`, right for the full chain only), or
    what the network says between these (`learned_range`, Nichol & Dhariwal 2021, eq. 15).
    """
    q = process.respace(kept)
    match variance:
        case "fixed_small":
            return _table(q, q.mu_tilde_x_t, q.mu_tilde_x_0, c_z=q.beta_tilde.sqrt())
        case "fixed_large":
            return _table(q, q.mu_tilde_x_t, q.mu_tilde_x_0, c_z=q.beta.sqrt())
        case "learned_range":
            ends = 0.5 * torch.stack([q.log_beta_tilde, q.beta.log()], dim=1)
            one = torch.ones_like(q.beta)
            return _table(q, q.mu_tilde_x_t, q.mu_tilde_x_0, c_z=one, log_sigma=ends)


def ddim(process: Process, kept: Tensor, eta: float = 0.0) -> SamplerTable:
    """DDIM (Song, Meng, Ermon 2021, eq. 12 and 16), eps re-derived from the clipped x0_hat."""
    q = process.respace(kept)
    sigma = eta * q.beta_tilde.sqrt()
    direction = (1 - q.alpha_bar_prev - sigma**2).clamp(min=0).sqrt()
    c_x = direction / (1 - q.alpha_bar).sqrt()
    return _table(q, c_x, q.alpha_bar_prev.sqrt() - c_x * q.alpha_bar.sqrt(), c_z=sigma)


def dpmpp(process: Process, kept: Tensor) -> SamplerTable:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), first order at the first and last step."""
    q = process.respace(kept)
    alpha, sigma = q.alpha_bar.sqrt(), (1 - q.alpha_bar).sqrt()
    alpha_prev, sigma_prev = q.alpha_bar_prev.sqrt(), (1 - q.alpha_bar_prev).sqrt()
    half_log_snr = alpha.log() - sigma.log()  # lambda
    h = torch.cat([torch.full((1,), torch.inf, dtype=torch.float64), half_log_snr.diff().neg()])
    c_data = alpha_prev * -torch.expm1(-h)  # the weight of D, eq. 9 there
    # h of the step before this one (the chain runs from high to low t): the index above.
    ratio = torch.cat([h[1:], torch.full((1,), torch.inf, dtype=torch.float64)]) / h  # r
    c_h = -c_data / (2 * ratio)
    c_h[0] = 0.0  # to alpha_bar = 1, where h is infinite: the first-order step is exact
    c_h[-1] = 0.0  # no history yet
    return _table(q, sigma_prev / sigma, c_data - c_h, c_h=c_h)


def make_table(
    process: Process,
    sampler: SamplerName,
    num_steps: int,
    *,
    eta: float = 0.0,
    variance: Variance = "fixed_small",
) -> SamplerTable:
    """The sampler of that name over evenly spaced timesteps. Raises ValueError naming the field."""
    kept = torch.tensor(evenly_spaced(process.num_timesteps, num_steps))
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
    log_sigma: Tensor | None = None,
) -> SamplerTable:
    """A table from coefficients over increasing t."""
    zero = torch.zeros_like(q.alpha_bar)
    log_sigma = torch.stack([zero, zero], dim=1) if log_sigma is None else log_sigma
    c_h = zero if c_h is None else c_h
    c_z = zero if c_z is None else c_z.clone()
    c_z[0] = 0.0  # z = 0 at the last step, line 3 of Algorithm 2
    coefficients = torch.stack([c_x, c_0, c_h, c_z], dim=1)
    by_step = (q.timesteps, q.alpha_bar, coefficients, log_sigma)
    return SamplerTable(*(column.flip(0) for column in by_step))


def step(
    x_t: Tensor,
    out: Tensor,
    x_0_hat_previous: Tensor | None,
    z: Tensor | None,
    rows: Tensor,
    clip: float | None = 1.0,
) -> Step:
    """One reverse step of every row of the batch, each by its own coefficients.

    All images are (B,C,H,W); `out` is a Model's, `rows` (B, 8, 1, 1, 1) are gathered from
    `SamplerTable.rows`, on the CPU. `x_0_hat_previous` may be None where no row has a c_h, `z`
    where none has a c_z; a row without c_z has z = 0. Only IEEE +, *, / and clip are used, each a
    kernel of its own, so a row's result does not depend on the batch.
    """
    here = rows if rows.device == x_t.device else rows.to(x_t.device)
    a, b, c_x, c_0, c_h, c_z, log_small, log_large = here.unbind(1)
    C = x_t.shape[1]
    eps_hat = out.narrow(1, 0, C)
    x_0_hat = (x_t - b * eps_hat).div_(a)
    if clip is not None:
        x_0_hat = x_0_hat.clamp_(-clip, clip)
    x_prev = (c_x * x_t).add_(c_0 * x_0_hat)
    if x_0_hat_previous is not None:
        x_prev = x_prev.add_(c_h * x_0_hat_previous)
    if z is None:
        return Step(x_prev.add_(0.0), x_0_hat)  # -0 is 0, as it is beside a row with noise
    if out.shape[1] > C:
        v = out[:, C:]
        noisy = rows[:, C_Z].flatten().nonzero().flatten().to(x_t.device)
        log_sigma = (log_small + (v + 1) / 2 * (log_large - log_small))[noisy]
        z = z.index_copy(0, noisy, z[noisy] * exact_math.exp(log_sigma.double()).to(z.dtype))
    return Step(x_prev.add_(c_z * z), x_0_hat)


class Conditioning(NamedTuple):
    """What the samples are to show, and how strongly."""

    label: Tensor | None  # (B,) int64
    guidance: float = 0.0  # w
    null_label: int | None = None


def guided(model: Model, x_t: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
    """The model's output with classifier-free guidance (Ho & Salimans 2022, eq. 6)."""
    label, w, null_label = condition
    out = model(x_t, t, label)
    if w == 0:
        return out
    if label is None or null_label is None:
        raise ValueError("guidance: needs a label and a model trained with label dropout")
    out_null = model(x_t, t, torch.full_like(label, null_label))
    w_rows = torch.full((len(x_t),), w, dtype=torch.float64, device=x_t.device)
    return combine_guided(out, out_null, w_rows, num_channels=x_t.shape[1])


def combine_guided(out: Tensor, out_null: Tensor, w: Tensor, num_channels: int) -> Tensor:
    """(1 + w) eps(x_t, t, label) - w eps(x_t, t), with w (B,) float64, one for each row. A learned
    variance, in the channels after the first `num_channels`, is the labelled one."""
    scale = w[:, None, None, None]
    eps_label, eps_null = out[:, :num_channels], out_null[:, :num_channels]
    eps_hat = (1 + scale).to(out.dtype) * eps_label - scale.to(out.dtype) * eps_null
    return torch.cat([eps_hat, out[:, num_channels:]], dim=1)


class State(NamedTuple):
    """Where a chain is: `t` as in the paper (0: done), x_t and what the model makes of it."""

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
    """Algorithm 2, and every other sampler: yields the S + 1 states x_T … x_0 of a batch.

    `seeds` and `indices` (B,) int64 name the samples: sample i of seed s is always the same.
    """
    x_t = noise.normal(seeds, indices, torch.zeros_like(seeds), shape)  # 1: x_T ~ N(0, I)
    x_0_hat = None
    for k, t in enumerate(table.times):  # 2: for t = T, …, 1
        z = None
        if table.is_noisy[k]:  # 3: z ~ N(0, I) if t > 1, else z = 0
            z = noise.normal(seeds, indices, torch.full_like(seeds, k + 1), shape)
        out = guided(model, x_t, torch.full_like(seeds, t), condition)
        rows = table.rows[k].expand(len(x_t), -1, 1, 1, 1)
        x_prev, x_0_hat = step(x_t, out, x_0_hat, z, rows, clip)  # 4
        yield State(t + 1, x_t, x_0_hat)
        x_t = x_prev
    yield State(0, x_t, x_t)  # 6: return x_0
