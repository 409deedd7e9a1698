"""The samplers: Algorithm 2, DDIM, DPM-Solver++(2M), UniPC and iPNDM, each as a table.

All are functions of the process and the kept timesteps, which increase. How t is counted is said in
`diffusion.spacing`, what the coefficients are multiplied with in `diffusion.sampler_table`.
"""

import torch
from torch import Tensor

from diffusion.config import Variance
from diffusion.process import Process
from diffusion.sampler_table import SamplerTable
from diffusion.spacing import SamplerName, Spacing, check_sampler

ADAMS_BASHFORTH = (
    (1, 0, 0, 0),
    (3 / 2, -1 / 2, 0, 0),
    (23 / 12, -16 / 12, 5 / 12, 0),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the latest derivative and of the three before, of orders 1 to 4."""


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
            return SamplerTable.over(q, c_x, c_0, c_z=q.beta_tilde.sqrt())
        case "fixed_large":
            return SamplerTable.over(q, c_x, c_0, c_z=q.beta.sqrt())
        case "learned_range":
            ends = (0.5 * q.log_beta_tilde, 0.5 * q.beta.log())  # log sigma is half log sigma^2
            # c_z is 1: `reverse.step` multiplies z by the sigma that v chooses
            return SamplerTable.over(q, c_x, c_0, c_z=torch.ones_like(q.beta), log_sigma=ends)


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
    return SamplerTable.over(q, c_x, c_0, c_z=sigma)


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
    # x_prev = (sigma_prev / sigma) x_t + c_data D; D's two parts go to c_0 and c_h1
    c_h = -c_data / (2 * ratio)
    c_h[0] = 0.0  # the chain's last step, to alpha_bar = 1: h is infinite, the first order exact
    c_h[-1] = 0.0  # its first step: there is no history yet
    return SamplerTable.over(q, sigma_prev / sigma, c_data - c_h, c_h=c_h[:, None])


def unipc(process: Process, kept: Tensor) -> SamplerTable:
    """UniPC (Zhao et al. 2023), predictor and corrector with B(h) = e^h - 1, of order 3, but lower
    at the first and last steps.

    The corrector needs the network at the state that it corrects. The next step asks for that
    anyway, so it corrects its own x_t first: a step costs one call.
    """
    q = process.respace(kept)
    alpha, sigma, half_log_snr = _states(q)
    S = len(kept)
    steps = torch.arange(S)
    orders = torch.minimum(steps + 1, S - steps).clamp(max=3)
    # Step k leads from state k to k + 1. What it makes of x_0_hat at k + 1, k, k - 1 and k - 2:
    predicted, corrected = (torch.zeros(S, 4, dtype=torch.float64) for _ in range(2))
    for order in range(1, 4):
        k = steps[orders == order]
        predicted[k] = _unipc_weights(half_log_snr, k, [-j for j in range(1, order)])
        k = k[k < S - 1]  # the image is not corrected
        corrected[k] = _unipc_weights(half_log_snr, k, [1, *(-j for j in range(1, order))])
    c_x = sigma[1:] / sigma[:-1]
    c_data = (alpha[1:] * -torch.expm1(-half_log_snr.diff()))[:, None]  # of order 1, for x_0_hat
    # What corrects x_t is the difference of the two for the step that led to it
    correction = torch.zeros(S, 4, dtype=torch.float64)
    correction[1:] = (c_data * (corrected - predicted))[:-1]
    weights = c_x[:, None] * correction
    weights[:, :3] += c_data * predicted[:, 1:]
    c_0, c_h = weights[:, 0], weights[:, 1:]
    return SamplerTable.over(q, c_x.flip(0), c_0.flip(0), c_h=c_h.flip(0))


def ipndm(process: Process, kept: Tensor) -> SamplerTable:
    """iPNDM (Zhang & Chen 2022) of order 4, of lower order at the first three steps and the last.

    x / alpha moves along eps_hat as sigma / alpha falls (DDIM paper, eq. 14), here by the method of
    Adams and Bashforth: eps_hat of the three steps before is remembered. Theirs ends at a small
    sigma; from there the last step goes to x_0_hat, as a slope of noisier states would leave noise.
    """
    q = process.respace(kept)
    alpha, sigma, _ = _states(q)
    order = torch.arange(len(kept)).clamp(max=3)
    order[-1] = 0
    # x_prev / alpha_prev = x_t / alpha + (sigma_prev / alpha_prev - sigma / alpha) slope
    slope = torch.tensor(ADAMS_BASHFORTH, dtype=torch.float64)[order]
    weights = (alpha[1:] * (sigma / alpha).diff())[:, None] * slope  # of each eps_hat
    alpha, alpha_prev, sigma = alpha[:-1], alpha[1:], sigma[:-1]
    # eps_hat = (x_t - alpha x_0_hat) / sigma, that of the clipped x_0_hat
    c_x = alpha_prev / alpha + weights[:, 0] / sigma
    c_0 = -weights[:, 0] * alpha / sigma
    remembers = (1 / sigma).flip(0), (-alpha / sigma).flip(0)
    return SamplerTable.over(
        q, c_x.flip(0), c_0.flip(0), c_h=weights[:, 1:].flip(0), remembers=remembers
    )


def make_table(
    process: Process,
    sampler: SamplerName,
    steps: int | Spacing,
    *,
    eta: float = 0.0,
    variance: Variance = "fixed_small",
) -> SamplerTable:
    """Make the sampler of that name over the kept timesteps, or over so many at even distances.

    `eta` applies to ddim, `variance` to ddpm. Raises ValueError unless 1 <= steps <= T, and
    for a sampler that cannot begin where alpha_bar_T is 0.
    """
    T = process.num_timesteps
    check_sampler(sampler, zero_snr=process.alpha_bar[-1].item() == 0)
    spacing = Spacing.even(T, steps) if isinstance(steps, int) else steps
    if spacing.kept[-1] >= T:
        raise ValueError(f"spacing: t = {spacing.kept[-1] + 1} is above T = {T}")
    kept = torch.tensor(spacing.kept)  # (S,), increasing
    match sampler:
        case "ddpm":
            return ddpm(process, kept, variance)
        case "ddim":
            return ddim(process, kept, eta)
        case "dpmpp":
            return dpmpp(process, kept)
        case "unipc":
            return unipc(process, kept)
        case "ipndm":
            return ipndm(process, kept)


def _states(q: Process) -> tuple[Tensor, Tensor, Tensor]:
    """alpha_t and sigma_t of Lu et al. 2022, and lambda, the log of their ratio, of the S + 1
    states of a chain from noise to the image, each (S + 1,)."""
    one = torch.ones(1, dtype=torch.float64)
    alpha_bar = torch.cat([q.alpha_bar.flip(0), one])
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    return alpha, sigma, alpha.log() - sigma.log()


def _unipc_weights(half_log_snr: Tensor, k: Tensor, places: list[int]) -> Tensor:
    """Weights of x_0_hat at states k + 1, k, k - 1 and k - 2 for the steps k, (n, 4), in units of
    what a step of first order gives x_0_hat at k.

    `places` says where x_0_hat is known beside k: 1 for k + 1, which the corrector has, -1 for
    k - 1, and so on.
    """
    weights = torch.zeros(len(k), 4, dtype=torch.float64)
    weights[:, 1] = 1.0
    if places and len(k):
        now, h = half_log_snr[k], half_log_snr[k + 1] - half_log_snr[k]
        r = torch.stack([(half_log_snr[k + place] - now) / h for place in places], dim=1)
        # With one difference alone the paper's code takes 1/2, which is as good
        rho = torch.full_like(r, 0.5) if len(places) == 1 else _unipc_rho(r, h)
        slopes = rho / r  # of x_0_hat at each place less that at k
        weights[:, [1 - place for place in places]] = slopes
        weights[:, 1] -= slopes.sum(1)
    return weights


def _unipc_rho(r: Tensor, h: Tensor) -> Tensor:
    """Solve sum_m rho_m r_m^(n - 1) = n! phi_{n+1}(h) / (h B(h)) for n = 1 … p (their Theorem 3.1,
    in its form for x_0_hat): rho (n, p) of r (n, p)."""
    p, z = r.shape[1], -h
    B = torch.expm1(z)
    psi, factorial, right = B / z - 1, 1, []
    for n in range(1, p + 1):
        right.append(factorial * psi / B)
        factorial *= n + 1
        psi = psi / z - 1 / factorial
    powers = torch.stack([r**n for n in range(p)], dim=1)  # (n, p, p)
    rho: Tensor = torch.linalg.solve(powers, torch.stack(right, dim=1))
    return rho
