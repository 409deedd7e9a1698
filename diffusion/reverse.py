"""The reverse process: one `step` for all samplers, and Algorithm 2 as a loop.

The rows of one batch may belong to different samplers, to chains of different lengths, and be at
different steps of these.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion import exact_math, noise
from diffusion.guidance import Conditioning, Model, guided
from diffusion.sampler_table import SamplerTable, StepCoefficients


class Step(NamedTuple):
    """What one reverse step gives, each (B,C,H,W)."""

    x_prev: Tensor
    x_0_hat: Tensor


def step(
    x_t: Tensor,
    out: Tensor,
    history: Sequence[Tensor],
    z: Tensor | None,
    rows: Tensor,
    clip: float | Tensor | None = 1.0,
) -> Step:
    """Take one reverse step with every row of the batch, each by its own coefficients.

    All images are (B,C,H,W). `out` is what a Model gives at x_t. `history` has what the last steps
    remember, the latest first, as far back as any row looks; for rows that look back less it may
    have any number. `rows` (B, 14, 1, 1, 1) are taken from `SamplerTable.rows`.
    `z` may be None where no row has a c_z; a row without c_z has z = 0.

    Only IEEE +, *, / and clip are used, each a kernel of its own, so that a row's result does not
    depend on the batch. Tensors made here are updated in place, for speed.
    """
    c = StepCoefficients.of(rows if rows.device == x_t.device else rows.to(x_t.device))
    C = x_t.shape[1]
    # Eq. 15. The clip comes before the mean: images are in [-1, 1], and so should x_0_hat be
    eps_hat = out.narrow(1, 0, C)
    x_0_hat = (x_t - c.sqrt_one_minus_alpha_bar * eps_hat).div_(c.sqrt_alpha_bar)
    if isinstance(clip, Tensor):
        x_0_hat = x_0_hat.clamp_(-clip, clip)
    elif clip is not None:
        x_0_hat = x_0_hat.clamp_(-clip, clip)
    # The mean of x_prev; for Algorithm 2 mu~ of eq. 7
    x_prev = (c.c_x * x_t).add_(c.c_0 * x_0_hat)
    for c_h, m in zip(c.c_h, history, strict=False):
        x_prev = x_prev.add_(c_h * m)
    # The noise, sigma_t z: line 4 of Algorithm 2
    if z is None:
        return Step(x_prev.add_(0.0), x_0_hat)  # makes -0 into 0, as adding 0 z would
    if out.shape[1] > C:
        z = _scaled_by_v(z, out[:, C:], c)
    return Step(x_prev.add_(c.c_z * z), x_0_hat)


def remember(x_t: Tensor, x_0_hat: Tensor, rows: Tensor) -> Tensor:
    """Return what the step remembers of x_t and x_0_hat (B,C,H,W): p_x x_t + p_0 x_0_hat.

    Where no row has a p_x that is x_0_hat itself, and this need not be called.
    """
    c = StepCoefficients.of(rows if rows.device == x_t.device else rows.to(x_t.device))
    return (c.p_x * x_t).add_(c.p_0 * x_0_hat)


def _scaled_by_v(z: Tensor, v: Tensor, c: StepCoefficients) -> Tensor:
    """z times the learned sigma (Nichol & Dhariwal 2021, eq. 15), in the rows that add noise.

    The other rows may belong to samplers that do not ask v, where it may be anything.
    """
    # v = -1 chooses the small end, v = 1 the large one
    log_sigma = c.log_sigma_small + (v + 1) / 2 * (c.log_sigma_large - c.log_sigma_small)
    # In float64, as `exact_math` works; it gives the same bits for a row in any batch
    sigma = exact_math.exp(log_sigma.double()).to(z.dtype)
    return torch.where(c.c_z != 0, z * sigma, z)


class Known(NamedTuple):
    """The part of each image that is given, and the rest, which is made anew."""

    x_0: Tensor  # (B,C,H,W)
    mask: Tensor  # (B,1,H,W) in 0..1: 1 is made anew, 0 is kept, and between them both are mixed


def with_known(x_next: Tensor, known: Known, w: Tensor, rows: Tensor) -> Tensor:
    """Put the known part into the next state (B,C,H,W): a draw of q(x_next | x_0) by the noise w
    (Lugmayr et al. 2022, eq. 8).

    A row whose mask is 1 everywhere stays as it is, to the byte, whatever x_0 is.
    """
    c = StepCoefficients.of(rows if rows.device == x_next.device else rows.to(x_next.device))
    drawn = (c.k_0 * known.x_0).add_(c.k_z * w)
    return (known.mask * x_next).add_((1 - known.mask) * drawn)


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
    start: Tensor | None = None,
    known: Known | None = None,
) -> Iterator[State]:
    """Run Algorithm 2, or another sampler: yield the S + 1 states x_T … x_0 of a batch.

    `seeds` and `indices` (B,) int64 name the samples: sample i of seed s is always the same,
    whatever its batch. `shape` is (C,H,W); `clip` is the limit of x_0_hat, or None. Chains begin
    at `start` (B,C,H,W), or else at noise; see `diffusion.starts`.
    """
    if start is None:
        start = noise.normal(seeds, indices, torch.zeros_like(seeds), shape)
    x_t = start  # 1: x_T ~ N(0, I)
    history: list[Tensor] = []
    for k, t in enumerate(table.t.tolist()):  # 2: for t = T, …, 1
        z = None
        if table.is_noisy[k]:  # 3: z ~ N(0, I) if t > 1, else z = 0
            z = noise.normal(seeds, indices, torch.full_like(seeds, k + 1), shape)
        out = guided(model, x_t, torch.full_like(seeds, t), condition.at(k))
        rows = table.rows[k].expand(len(x_t), -1, 1, 1, 1)
        x_prev, x_0_hat = step(x_t, out, history, z, rows, clip)  # 4
        if known is not None:
            w = noise.normal(seeds, indices, torch.full_like(seeds, noise.KNOWN + k + 1), shape)
            x_prev = with_known(x_prev, known, w, rows)
        m = remember(x_t, x_0_hat, rows) if table.remembers_mix else x_0_hat
        history = [m, *history][: table.depth]
        yield State(table.paper_t[k], x_t, x_0_hat)
        x_t = x_prev
    yield State(table.paper_t[-1], x_t, x_t)  # 6: return x_0
