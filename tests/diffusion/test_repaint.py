"""RePaint against a plain reading of its Algorithm 1, diffusers, and a known answer."""

import pytest
import torch
from diffusers import RePaintScheduler
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.repaint import repaint
from diffusion.reverse import Known, sample, with_known
from diffusion.sampler_table import SamplerTable
from diffusion.samplers import ddim, ddpm, make_table
from tests.diffusion.affine import Gaussian, network, score
from tests.diffusion.chain import SHAPE, T, draw

X_0 = torch.tensor([0.8, -0.3, 0.0, 0.0], dtype=torch.float64)
"""A picture of four numbers, of which the first two are known."""
IS_KNOWN = torch.tensor([True, True, False, False])
MASK = (~IS_KNOWN).double()


@pytest.fixture(scope="module")
def data() -> Gaussian:
    """Four numbers that depend on each other."""
    mean = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64)
    root = torch.eye(4, dtype=torch.float64) * 0.3 + 0.5 * draw(4, 4, seed=2)
    return Gaussian(mean, root @ root.T / 4)


@pytest.fixture
def short() -> Process:
    """A chain of 40 steps."""
    return Process.from_beta(torch.linspace(2e-3, 0.35, 40, dtype=torch.float64))


def noise_alone() -> Gaussian:
    return Gaussian(torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64))


def through_table(data: Gaussian, process: Process, table: SamplerTable) -> Gaussian:
    """What the rows of a table make of noise, with the known part put in after each."""
    x = noise_alone()
    for k, t in enumerate(table.t.tolist()):
        c = type(table.coefficients)(*(column[k] for column in table.coefficients))
        matrix, offset = score(data, process.alpha_bar[t])
        b, a = c.sqrt_one_minus_alpha_bar, c.sqrt_alpha_bar
        whole = c.c_x * torch.eye(4, dtype=torch.float64)
        whole = whole + c.c_0 / a * (torch.eye(4, dtype=torch.float64) - b * matrix)
        offset = -c.c_0 / a * b * offset
        variance = MASK * c.c_z**2 + (1 - MASK) * c.k_z**2
        x = x.through(MASK[:, None] * whole, MASK * offset + (1 - MASK) * c.k_0 * X_0, variance)
    return x


def plainly(data: Gaussian, q: Process, resamplings: int, jump: int) -> Gaussian:
    """Algorithm 1 of Lugmayr et al. 2022 over all timesteps of q, line by line, with jumps."""
    x, t = noise_alone(), q.num_timesteps  # the paper's t
    times_left = dict.fromkeys(range(1, q.num_timesteps - jump + 1, jump), resamplings - 1)
    one = torch.ones(4, dtype=torch.float64)
    while t > 0:
        alpha, alpha_bar, beta = (table[t - 1] for table in (q.alpha, q.alpha_bar, q.beta))
        before = q.alpha_bar[t - 2] if t > 1 else torch.tensor(1.0, dtype=torch.float64)
        matrix, offset = score(data, alpha_bar)
        # lines 6 and 7: the unknown part by the model
        share = beta / (1 - alpha_bar).sqrt()
        whole = (torch.eye(4, dtype=torch.float64) - share * matrix) / alpha.sqrt()
        sigma_2 = (1 - before) / (1 - alpha_bar) * beta
        # lines 4, 5 and 8: the known part by its own noise
        x = x.through(
            MASK[:, None] * whole,
            -MASK * share * offset / alpha.sqrt() + (1 - MASK) * before.sqrt() * X_0,
            MASK * sigma_2 * (t > 1) + (1 - MASK) * (1 - before),
        )
        t -= 1
        if times_left.get(t):  # line 10, once for each step back up
            times_left[t] -= 1
            for _ in range(jump):
                beta = q.beta[t]
                t += 1
                x = x.through(
                    (1 - beta).sqrt() * torch.eye(4, dtype=torch.float64), 0 * one, beta * one
                )
    return x


@pytest.mark.parametrize(("resamplings", "jump"), [(1, 10), (3, 1), (4, 10), (2, 39)])
def test_the_table_is_algorithm_1(
    data: Gaussian, short: Process, resamplings: int, jump: int
) -> None:
    table = repaint(make_table(short, "ddpm", 40), short, resamplings, jump)
    found = through_table(data, short, table)
    expected = plainly(data, short, resamplings, jump)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.mean[IS_KNOWN], X_0[IS_KNOWN])
    assert found.covariance[IS_KNOWN].abs().max() < 1e-20, "what is known is given back"


def error(found: Gaussian, data: Gaussian) -> tuple[float, float]:
    """How far the unknown part is from its true distribution given the known one."""
    true = data.given(IS_KNOWN, X_0)
    rest = found.covariance[~IS_KNOWN][:, ~IS_KNOWN]
    return (
        (found.mean[~IS_KNOWN] - true.mean).norm().item(),
        (rest - true.covariance).norm().item(),
    )


@pytest.mark.slow
def test_the_more_resamplings_the_nearer_the_rest_is_to_the_true_conditional(
    data: Gaussian, process: Process
) -> None:
    table = make_table(process, "ddpm", T, variance="fixed_large")
    errors = [
        error(through_table(data, process, repaint(table, process, r, 10)), data)
        for r in (1, 5, 10)
    ]
    means, covariances = zip(*errors, strict=True)
    assert means == pytest.approx((0.1994, 0.0170, 0.0077), abs=2e-4), "docs/editing.md"
    assert covariances == pytest.approx((0.0463, 0.0056, 0.0034), abs=2e-4)


def test_samples_have_the_mean_and_covariance_of_the_table(data: Gaussian, short: Process) -> None:
    table = repaint(make_table(short, "ddpm", 40), short, 3, 5)
    expected = through_table(data, short, table)
    N = 20000
    indices = torch.arange(N)
    x_0 = X_0.float().view(1, 1, 2, 2).expand(N, 1, 2, 2)
    mask = MASK.float().view(1, 1, 2, 2)
    *_, last = sample(
        network(data, short), table, torch.zeros_like(indices), indices, (1, 2, 2),
        Conditioning(None), clip=None, known=Known(x_0, mask),
    )  # fmt: skip
    x = last.x_t.double().flatten(1)
    assert torch.equal(last.x_t.flatten(1)[:, IS_KNOWN], x_0.flatten(1)[:, IS_KNOWN])
    spread = expected.covariance.diagonal().sqrt()
    assert ((x.mean(dim=0) - expected.mean).abs() <= 4 * spread / N**0.5 + 1e-6).all()
    difference = (x.T.cov() - expected.covariance).abs()
    assert (difference <= 5 * spread[:, None] * spread / N**0.5 + 1e-6).all()


def test_a_step_equals_that_of_diffusers(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    z = draw(2, *SHAPE, seed=9).float()
    module = "diffusers.schedulers.scheduling_repaint.randn_tensor"
    monkeypatch.setattr(module, lambda *_args, **_options: z)
    theirs = RePaintScheduler(T, 1e-4, 0.02, beta_schedule="linear", eta=1.0, clip_sample=False)
    theirs.set_timesteps(50, jump_length=10, jump_n_sample=1)
    table = ddim(process, torch.arange(0, T, 20), eta=1.0)
    x_t, eps, x_0 = (draw(2, *SHAPE, seed=s).float() for s in range(3))
    mask = (draw(2, 1, *SHAPE[1:], seed=5) > 0).float()
    for k in (0, 20, 48):
        t = table.t[k].item()
        expected = theirs.step(eps, int(t), x_t, x_0, 1 - mask).prev_sample
        found = unknown(table, k, x_t, eps, z)
        found = with_known(found, Known(x_0, mask), z, table.rows[[k]])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def unknown(table: SamplerTable, k: int, x_t: Tensor, eps: Tensor, z: Tensor) -> Tensor:
    """Step k by the formula of tables, unclipped."""
    c = type(table.coefficients)(*(column[k].float() for column in table.coefficients))
    x_0_hat = (x_t - c.sqrt_one_minus_alpha_bar * eps) / c.sqrt_alpha_bar
    return c.c_x * x_t + c.c_0 * x_0_hat + c.c_z * z


def test_a_jump_equals_those_of_diffusers(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their jump of one kept timestep makes every step of the full chain; ours is one Gaussian."""
    theirs = RePaintScheduler(T, 1e-4, 0.02, beta_schedule="linear")
    theirs.set_timesteps(50, jump_length=1, jump_n_sample=2)
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_repaint.randn_tensor",
        lambda shape, **_options: torch.zeros(shape),
    )
    table = make_table(process, "ddpm", 50)
    jumped = repaint(table, process, 2, 1)
    k = next(k for k in range(len(jumped)) if jumped.paper_t[k] == jumped.paper_t[k + 1] == 500)
    (before,) = (k for k, t in enumerate(table.paper_t) if t == 500)
    x, zero = draw(1, *SHAPE, seed=1).float(), torch.zeros(1, *SHAPE)
    down = unknown(table, before, x, zero, zero)
    up = unknown(jumped, k, x, zero, zero)
    expected = theirs.undo_step(down, 480)
    torch.testing.assert_close(up, expected, rtol=1e-4, atol=1e-5)
    # With the scale known, what is missing of variance 1 is noise
    scale = (expected / down).double().mean()
    c, d = table.coefficients.c_z[before], jumped.coefficients.c_z[k]
    torch.testing.assert_close(d**2, scale**2 * c**2 + 1 - scale**2, rtol=1e-4, atol=1e-5)


def test_a_learned_range_keeps_its_ends(process: Process) -> None:
    kept = torch.arange(19, T, 20)
    learned = repaint(ddpm(process, kept, "learned_range"), process, 2, 5).coefficients
    for variance, column in (
        ("fixed_small", "log_sigma_small"),
        ("fixed_large", "log_sigma_large"),
    ):
        fixed = repaint(ddpm(process, kept, variance), process, 2, 5).coefficients  # type: ignore[arg-type]
        found = getattr(learned, column).exp()[:-1]
        torch.testing.assert_close(found, fixed.c_z[:-1], rtol=1e-9, atol=1e-12)


def test_without_resampling_the_table_stays_as_it_is(process: Process) -> None:
    table = make_table(process, "unipc", 10)
    assert repaint(table, process, 1, 10) is table
    with pytest.raises(ValueError, match="they need a sampler without a memory: ddpm or ddim"):
        repaint(table, process, 2, 3)
