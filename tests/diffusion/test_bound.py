"""The bound against a plain float64 reading of the paper, and where the answer is known exactly."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffusion import noise, pixels
from diffusion.bound import (
    Reverse,
    bound,
    discretized_gaussian_log_likelihood,
    prior,
    term,
)
from diffusion.process import Process
from diffusion.schedules import cosine_beta, linear_beta

BINS = torch.arange(256, dtype=torch.float64) / 127.5 - 1
VARIANCES = ["fixed_small", "fixed_large", "learned_range"]


def images(count: int, shape: tuple[int, ...] = (3, 4, 4), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    return pixels.to_model(made)


def network(x_t: Tensor, t: Tensor, _label: Tensor | None = None) -> Tensor:
    """Something smooth of x_t and t, in any precision: C channels of eps_hat."""
    scale = (0.3 + 0.6 * t.to(x_t.dtype) / 100)[:, None, None, None]
    return scale * x_t + 0.1 * torch.sin(3 * x_t)


def network_with_range(x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
    return torch.cat([network(x_t, t, label), torch.cos(2 * x_t)], dim=1)


# The decoder, eq. 13


@pytest.mark.parametrize("mean", [-1.2, -1.0, 0.0, 0.3, 0.999])
@pytest.mark.parametrize("sigma", [1e-4, 0.003, 0.02, 0.5, 3.0])
def test_the_masses_of_all_bins_add_up_to_one(mean: float, sigma: float) -> None:
    log_variance = torch.tensor(2 * math.log(sigma), dtype=torch.float64)
    masses = discretized_gaussian_log_likelihood(
        BINS, torch.tensor(mean, dtype=torch.float64), log_variance
    ).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-12)


def test_a_bin_has_the_mass_between_its_edges_and_the_outermost_reach_to_infinity() -> None:
    mean, sigma = 0.1, 0.4
    found = discretized_gaussian_log_likelihood(
        BINS,
        torch.tensor(mean, dtype=torch.float64),
        torch.tensor(2 * math.log(sigma), dtype=torch.float64),
    )
    edges = np.concatenate([[-np.inf], BINS.numpy()[1:] - 1 / 255, [np.inf]])
    expected = np.log(np.diff(stats.norm.cdf(edges, mean, sigma)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("x_0", "mean"), [(200, -0.9), (20, 0.95), (0, 0.9), (255, -0.9)])
def test_far_tails_are_exact_and_their_gradients_finite(x_0: int, mean: float) -> None:
    sigma = 0.01
    where = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
    log_variance = torch.tensor(2 * math.log(sigma), dtype=torch.float64, requires_grad=True)
    found = discretized_gaussian_log_likelihood(BINS[x_0], where, log_variance)
    # the mass is that beyond the bin's nearer edge: the farther one adds nothing to 1e-20
    distance = abs(BINS[x_0].item() - mean) - 1 / 255
    assert found.item() == pytest.approx(stats.norm.logsf(distance / sigma), rel=1e-9)
    for gradient in torch.autograd.grad(found, (where, log_variance)):
        assert gradient.isfinite() and gradient != 0


# The terms, against a plain reading of the paper


def plainly(
    beta: Tensor, timesteps: Tensor, x_0: Tensor, t: int, eps: Tensor, variance: str, clip: Any
) -> Tensor:
    """L_t (B,) in nats, in float64, from beta alone: Gaussians of eq. 6-7 and their KL."""
    alpha_bar = torch.cumprod(1 - beta, 0)
    before = alpha_bar[t - 1] if t else torch.tensor(1.0, dtype=torch.float64)
    x_t = alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * eps
    out = network_with_range(x_t, timesteps[t].expand(len(x_0)))
    eps_hat, v = out.chunk(2, dim=1)
    x_0_hat = (x_t - (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha_bar[t].sqrt()
    if clip is not None:
        x_0_hat = x_0_hat.clamp(-clip, clip)

    def beta_tilde(s: int) -> Tensor:
        return (1 - alpha_bar[s - 1]) / (1 - alpha_bar[s]) * beta[s]

    def mu(x: Tensor) -> Tensor:
        from_x_0 = before.sqrt() * beta[t] / (1 - alpha_bar[t]) * x
        return from_x_0 + (1 - beta[t]).sqrt() * (1 - before) / (1 - alpha_bar[t]) * x_t

    small = beta_tilde(max(t, 1)).expand_as(v)  # at t = 0 that of the next step
    if variance == "fixed_small" or (variance == "fixed_large" and t == 0):
        sigma = small.sqrt()
    elif variance == "fixed_large":
        sigma = beta[t].sqrt().expand_as(v)
    else:
        sigma = (beta[t] ** ((v + 1) / 2) * small ** ((1 - v) / 2)).sqrt()
    if t:
        q = Normal(mu(x_0), small.sqrt())
        return kl_divergence(q, Normal(mu(x_0_hat), sigma)).sum(dim=(1, 2, 3))
    p = stats.norm(mu(x_0_hat).numpy(), sigma.numpy())
    lower = torch.where(x_0 < -0.999, -torch.inf, x_0 - 1 / 255).numpy()
    upper = torch.where(x_0 > 0.999, torch.inf, x_0 + 1 / 255).numpy()
    mass = np.where(lower > p.mean(), p.sf(lower) - p.sf(upper), p.cdf(upper) - p.cdf(lower))
    return -torch.from_numpy(np.log(mass)).sum(dim=(1, 2, 3))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("kept", [None, [0, 3, 10, 11, 60, 99]], ids=["full", "respaced"])
@pytest.mark.parametrize("schedule", [linear_beta, cosine_beta])
def test_every_term_equals_a_plain_reading_of_the_paper(
    variance: Any, clip: float | None, kept: list[int] | None, schedule: Any
) -> None:
    whole = Process.from_beta(schedule(100))
    process = whole if kept is None else whole.respace(torch.tensor(kept))
    model = network_with_range if variance == "learned_range" else network
    x_0 = images(3)
    terms = bound(Reverse(model, process, variance, clip), x_0, seed=5, first_index=7)
    for t in range(process.num_timesteps):
        indices = torch.arange(7, 10)
        eps = noise.normal(
            torch.full((3,), 5), indices, torch.full((3,), t + 1), tuple(x_0.shape[1:])
        )
        expected = plainly(
            process.beta, process.timesteps, x_0.double(), t, eps.double(), variance, clip
        )
        # the network alone is float32
        torch.testing.assert_close(terms.per_step[:, t], expected, rtol=1e-4, atol=1e-4)


def test_the_prior_is_the_divergence_of_the_last_state_from_noise() -> None:
    process = Process.from_beta(linear_beta(100))
    x_0 = images(4)
    alpha_bar = process.alpha_bar[-1]
    q = Normal(alpha_bar.sqrt() * x_0.double(), (1 - alpha_bar).sqrt())
    zero = torch.zeros((), dtype=torch.float64)
    expected = kl_divergence(q, Normal(zero, zero + 1)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(prior(process, x_0), expected, rtol=1e-6, atol=1e-12)


def test_rows_at_different_t_are_what_they_are_alone() -> None:
    reverse = Reverse(network, Process.from_beta(linear_beta(100)), "fixed_large")
    x_0, t = images(4), torch.tensor([0, 1, 50, 99])
    eps = images(4, seed=1)
    together = term(reverse, x_0, t, eps, None)
    for i in range(4):
        one = slice(i, i + 1)
        alone = term(reverse, x_0[one], t[one], eps[one], None)
        torch.testing.assert_close(together.nats[one], alone.nats)


def test_an_images_bound_does_not_depend_on_its_batch() -> None:
    reverse = Reverse(network, Process.from_beta(linear_beta(50)), "fixed_small")
    x_0 = images(3)
    together = bound(reverse, x_0, seed=1)
    alone = bound(reverse, x_0[2:], seed=1, first_index=2)
    torch.testing.assert_close(together.total[2:], alone.total)


def test_some_of_the_terms_estimate_all_of_them() -> None:
    reverse = Reverse(network, Process.from_beta(linear_beta(100)), "fixed_small")
    x_0 = images(400)
    whole, some = bound(reverse, x_0, seed=1), bound(reverse, x_0, seed=1, num_terms=12)
    assert (some.per_step != 0).sum(dim=1).tolist() == [12] * 400
    torch.testing.assert_close(some.decoder, whole.decoder)
    for column in ("per_step", "eps_mse", "x_0_mse"):
        error = (getattr(some, column) - getattr(whole, column)).sum(dim=1)
        assert abs(error.mean()) < 4 * error.std() / math.sqrt(400), column
    alone = bound(reverse, x_0[7:9], seed=1, first_index=7, num_terms=12)
    torch.testing.assert_close(some.total[7:9], alone.total)
    every = bound(reverse, x_0[:3], seed=1, num_terms=100)
    torch.testing.assert_close(every.total, whole.total[:3])


def test_the_network_is_told_the_original_timesteps_and_the_labels() -> None:
    asked: list[tuple[list[int], list[int]]] = []

    def model(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        asked.append((t.tolist(), label.tolist()))
        return x_t

    process = Process.from_beta(linear_beta(100)).respace(torch.tensor([4, 50, 99]))
    bound(Reverse(model, process, "fixed_small"), images(2), torch.tensor([3, 1]))
    assert asked == [([t, t], [3, 1]) for t in (4, 50, 99)]


# Data that is Gaussian: the best network, the true likelihood and the bound in closed form

MEAN, STD = 0.1, 0.25
Gaussian = tuple[float, float]


def best_network(process: Process) -> Any:
    """E[eps | x_t] for x_0 ~ N(MEAN, STD^2)."""

    def model(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
        alpha_bar = process.alpha_bar[t][:, None, None, None]
        variance = alpha_bar * STD**2 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (x_t.double() - alpha_bar.sqrt() * MEAN) / variance

    return model


def shrinkage(process: Process) -> Tensor:
    """K_t: x0_hat(x_t) = MEAN + K_t (x_t - sqrt(alpha_bar_t) MEAN)."""
    alpha_bar = process.alpha_bar
    return alpha_bar.sqrt() * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)


def posterior_variance(process: Process) -> Tensor:
    """Var(x_0 | x_t)."""
    alpha_bar = process.alpha_bar
    return STD**2 * (1 - alpha_bar) / (alpha_bar * STD**2 + 1 - alpha_bar)


def best_share(process: Process) -> Tensor:
    """Where between log beta~_t (0) and log beta_t (1) the variance of q(x_{t-1} | x_t) lies."""
    best = process.beta_tilde + process.mu_tilde_x_0**2 * posterior_variance(process)
    small, large = process.log_beta_tilde, process.beta.log()
    return (best.log() - small) / (large - small)


def reverse_with(process: Process, share: Tensor) -> Reverse:
    """The best network, with the variances beta^share beta~^(1 - share)."""
    eps_hat = best_network(process)

    def model(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        v = (2 * share[t] - 1)[:, None, None, None].expand_as(x_t)
        return torch.cat([eps_hat(x_t, t, label), v], dim=1)

    return Reverse(model, process, "learned_range", clip=None)


def log_variance_of(process: Process, share: Tensor) -> Tensor:
    """log of beta^share beta~^(1 - share)."""
    return share * process.beta.log() + (1 - share) * process.log_beta_tilde


def marginal(process: Process, log_variance: Tensor) -> Gaussian:
    """p(x_0) of a chain of linear Gaussian steps, exactly: mean and variance."""
    q, K = process, shrinkage(process)
    mean, variance = 0.0, 1.0
    for t in reversed(range(q.num_timesteps)):
        slope = (q.mu_tilde_x_t[t] + q.mu_tilde_x_0[t] * K[t]).item()
        offset = (q.mu_tilde_x_0[t] * (1 - K[t] * q.alpha_bar[t].sqrt()) * MEAN).item()
        mean = slope * mean + offset
        variance = slope**2 * variance + math.exp(log_variance[t].item())
    return mean, variance


def gaussian_images(count: int) -> Tensor:
    """Pixels of N(MEAN, STD^2), rounded to their bins."""
    generator = torch.Generator().manual_seed(3)
    x = MEAN + STD * torch.randn(count, 1, 16, 16, generator=generator)
    return pixels.to_model(torch.from_numpy(np.moveaxis(pixels.to_uint8(x.numpy()), -1, -3)))


def log_mass(x_0: Tensor, gaussian: Gaussian) -> Tensor:
    """log p of each image's bins, in nats (B,)."""
    mean, variance = (torch.tensor(value, dtype=torch.float64) for value in gaussian)
    each = discretized_gaussian_log_likelihood(x_0.double(), mean, variance.log())
    return each.sum(dim=(1, 2, 3))


class Gap(NamedTuple):
    """Bound minus -log p(x_0), in nats/dim: the mean over images, and its standard error."""

    mean: float
    error: float


def gap(reverse: Reverse, log_variance: Tensor) -> Gap:
    x_0 = gaussian_images(192)
    total, D = bound(reverse, x_0).total, x_0[0].numel()
    above = (total + log_mass(x_0, marginal(reverse.process, log_variance))) / D
    error = (above.std() / math.sqrt(len(above))).item()
    above_data = ((total + log_mass(x_0, (MEAN, STD**2))) / D).mean().item()
    assert above_data > -4 * error, "no model is better than the data's own distribution"
    return Gap(above.mean().item(), error)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_the_bound_is_above_the_truth(variance: Any) -> None:
    """Jensen's inequality, eq. 3."""
    for T in (40, 200):
        process = Process.from_beta(linear_beta(T))
        reverse = Reverse(best_network(process), process, variance, clip=None)
        found = gap(reverse, reverse.log_variance_table)
        assert found.mean > 4 * found.error, f"T = {T}"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["beta~", "beta"])
def test_the_bound_gets_tighter_as_the_chain_gets_longer(share: float) -> None:
    """Both choices of sigma_t tend to the true one. Not the decoder's, whose error is the same for
    every T: here it has the variance of x_0 given x_1."""
    gaps = []
    for T in (30, 120, 480):
        process = Process.from_beta(linear_beta(T))
        shares = torch.full((T,), share, dtype=torch.float64)
        shares[0] = best_share(process)[0]
        gaps.append(gap(reverse_with(process, shares), log_variance_of(process, shares)))
    first, second, third = gaps
    assert first.mean > 1.5 * second.mean > 0 and second.mean > 1.5 * third.mean, gaps
    assert third.mean > -4 * third.error, gaps


def test_with_the_true_reverse_variances_only_the_prior_is_between_bound_and_truth() -> None:
    """q(x_{t-1} | x_t) of Gaussian data is Gaussian, so a learned range can match it exactly."""
    process = Process.from_beta(linear_beta(100))
    shares = best_share(process)
    log_variance = log_variance_of(process, shares)
    assert marginal(process, log_variance) == pytest.approx((MEAN, STD**2), abs=1e-4)
    found = gap(reverse_with(process, shares), log_variance)
    assert abs(found.mean) < 4 * found.error < 0.02


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_every_term_has_the_mean_over_eps_that_is_known_in_closed_form(variance: Any) -> None:
    process = Process.from_beta(linear_beta(60))
    reverse = Reverse(best_network(process), process, variance, clip=None)
    x_0 = gaussian_images(48)
    terms = bound(reverse, x_0, seed=2)
    K, alpha_bar = shrinkage(process), process.alpha_bar
    sigma_squared = reverse.log_variance_table.exp()
    spread = (x_0.double() - MEAN).square().sum(dim=(1, 2, 3))
    for t in range(1, 60):
        # E || x_0 - x0_hat ||^2 over eps
        error = spread * (1 - K[t] * alpha_bar[t].sqrt()) ** 2
        error = error + x_0[0].numel() * K[t] ** 2 * (1 - alpha_bar[t])
        ratio = process.beta_tilde[t] / sigma_squared[t]
        kl = 0.5 * x_0[0].numel() * (ratio - 1 - ratio.log())
        kl = kl + process.mu_tilde_x_0[t] ** 2 / (2 * sigma_squared[t]) * error
        assert terms.per_step[:, t].mean().item() == pytest.approx(kl.mean().item(), rel=0.05)


def test_eq_3_over_whole_trajectories_is_eq_5_term_by_term() -> None:
    """The left side draws x_1 … x_T from q and adds up log ratios of densities; the right side is
    the sum of L_T, L_{t-1} and L_0 in closed form."""
    T = 60
    process = Process.from_beta(linear_beta(T))
    reverse = Reverse(best_network(process), process, "fixed_large", clip=None)
    x_0 = gaussian_images(1).expand(1500, -1, -1, -1).double()
    generator = torch.Generator().manual_seed(0)
    sigma = (reverse.log_variance_table / 2).exp()
    model = reverse.model
    total, x_prev = torch.zeros(1500, dtype=torch.float64), x_0
    for t in range(T):
        step = process.q_step(x_prev, torch.full((1500,), t))
        z = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
        x_t = step.mean + step.variance.sqrt() * z
        times = torch.full((1500,), t)
        x_0_hat = process.predict_x_0(x_t, times, model(x_t, times, None))
        mu = process.q_posterior(x_0_hat, x_t, times).mean
        log_q = Normal(step.mean, step.variance.sqrt()).log_prob(x_t)
        if t == 0:
            log_p = discretized_gaussian_log_likelihood(x_0, mu, reverse.log_variance_table[0])
        else:
            log_p = Normal(mu, sigma[t]).log_prob(x_prev)
        total += (log_q - log_p).sum(dim=(1, 2, 3))
        x_prev = x_t
    total -= Normal(0.0, 1.0).log_prob(x_prev).sum(dim=(1, 2, 3))
    terms = bound(reverse, x_0[:200].float(), seed=4)
    error = math.hypot(total.std() / math.sqrt(1500), terms.total.std() / math.sqrt(200))
    assert abs(total.mean() - terms.total.mean()) < 5 * error
    assert error < 0.005 * terms.total.mean()


# Units


def test_bits_per_dim_are_nats_over_log_2_and_the_number_of_dimensions() -> None:
    process = Process.from_beta(linear_beta(30))
    nats = bound(Reverse(network, process, "fixed_small"), images(2))
    bits = nats.bits_per_dim()
    scale = math.log(2) * 3 * 4 * 4
    torch.testing.assert_close(bits.total * scale, nats.total)
    torch.testing.assert_close(bits.total, bits.prior + bits.denoising + bits.decoder)
    assert torch.equal(bits.x_0_mse, nats.x_0_mse)


def test_the_errors_of_eps_hat_are_the_loss_at_each_timestep() -> None:
    process = Process.from_beta(linear_beta(40))

    def zero(x_t: Tensor, _t: Tensor, _label: Tensor | None) -> Tensor:
        return torch.zeros_like(x_t)

    terms = bound(Reverse(zero, process, "fixed_small"), images(64))
    assert terms.eps_mse.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("noise_levels", "share", "lowest", "highest"),
    [(0.25, 0.48, 0.1, 0.2), (0.5, 0.82, 0.0005, 0.001), (0.67, 0.9, 0.0, 0.0003)],
)
def test_what_noise_is_left_at_t_1_decides_what_whole_grey_levels_cost(
    noise_levels: float, share: float, lowest: float, highest: float
) -> None:
    """A grey level k that could as well be any other, seen as x_1 = k + noise by a network that
    does not round, with the decoder's best sigma as a share of the noise: what the bound spends
    beyond the 8 bits that k has, once it took x_1 for evenly spread over the 256 levels."""
    n = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    density = torch.exp(-(n**2) / 2)
    x_0, level = torch.zeros(()).double(), 1 / 127.5
    log_variance = torch.tensor(2 * math.log(share * noise_levels * level)).double()
    decoder = -discretized_gaussian_log_likelihood(x_0, n * noise_levels * level, log_variance)
    entropy = math.log(noise_levels * math.sqrt(2 * math.pi * math.e))  # of the noise, in levels
    bits = ((decoder * density).sum() / density.sum() - entropy) / math.log(2)
    assert lowest <= bits < highest
