"""Samplers against Algorithm 2, the diffusers schedulers, and a case with a known answer."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.process import Process, linear_beta
from diffusion.samplers import (
    SamplerTable,
    StepCoefficients,
    ddim,
    ddpm,
    dpmpp,
    make_table,
    sample,
    step,
)

T = 1000
FULL = torch.arange(T)
SHORT = torch.tensor([0, 100, 333, 334, 640, 999])
SHAPE = (1, 4, 4)


@pytest.fixture
def process() -> Process:
    return Process.from_beta(linear_beta(T))


@pytest.fixture
def z(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The noise that diffusers' DDPM scheduler is made to draw."""
    noise = draw(2, *SHAPE, seed=9).float()
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_args, **_options: noise
    )
    return noise


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apply(table: SamplerTable, k: int, x_t: Tensor, eps: Tensor, z: Tensor) -> Tensor:
    """Step k of a table in float64, unclipped, without history."""
    c = coefficients(table, k)
    x_0_hat = (x_t - c.sqrt_one_minus_alpha_bar * eps) / c.sqrt_alpha_bar
    return c.c_x * x_t + c.c_0 * x_0_hat + c.c_z * z


def coefficients(table: SamplerTable, k: int) -> StepCoefficients:
    """Those of step k, scalars."""
    return StepCoefficients(*(column[k] for column in table.coefficients))


def test_without_the_clip_ddpm_is_line_4_of_algorithm_2(process: Process) -> None:
    table = ddpm(process, FULL, "fixed_large")
    x_t, eps, z = draw(*SHAPE, seed=1), draw(*SHAPE, seed=2), draw(*SHAPE, seed=3)
    for k in (0, 1, 500, 998, 999):
        t = T - 1 - k
        alpha, alpha_bar = process.alpha[t], process.alpha_bar[t]
        sigma = process.beta[t].sqrt() if t > 0 else 0.0
        expected = (x_t - (1 - alpha) / (1 - alpha_bar).sqrt() * eps) / alpha.sqrt() + sigma * z
        torch.testing.assert_close(apply(table, k, x_t, eps, z), expected, rtol=1e-12, atol=1e-12)


def test_no_noise_is_added_at_the_last_step(process: Process) -> None:
    for table in (
        ddpm(process, FULL),
        ddpm(process, FULL, "fixed_large"),
        ddpm(process, SHORT, "fixed_large"),
        ddim(process, SHORT, eta=1.0),
    ):
        assert table.coefficients.c_z[-1] == 0
        assert (table.coefficients.c_z[:-1] > 0).all()
        assert table.is_noisy == [True] * (len(table) - 1) + [False]


def test_the_last_step_gives_the_estimate_itself(process: Process) -> None:
    for table in (ddpm(process, FULL), ddim(process, SHORT), dpmpp(process, SHORT)):
        last = coefficients(table, -1)
        assert last.c_x.item() == pytest.approx(0, abs=1e-12)
        assert last.c_h.item() == 0
        assert last.c_0.item() == pytest.approx(1)


def test_a_short_chain_feeds_the_original_t_and_steps_to_the_kept_one_before(
    process: Process,
) -> None:
    table = ddpm(process, SHORT)
    assert table.t.tolist() == SHORT.flip(0).tolist()
    # from t = 640 to the kept 334, not to 639
    now, before = process.alpha_bar[640], process.alpha_bar[334]
    beta = 1 - now / before
    c = coefficients(table, 1)
    close = partial(torch.testing.assert_close, rtol=1e-12, atol=0.0)
    close(c.c_0, before.sqrt() * beta / (1 - now))
    close(c.c_x, (1 - beta).sqrt() * (1 - before) / (1 - now))
    close(c.c_z**2, (1 - before) / (1 - now) * beta)


def test_ddim_with_eta_1_is_ddpm_with_fixed_small(process: Process) -> None:
    for kept in (FULL, SHORT):
        torch.testing.assert_close(
            ddim(process, kept, eta=1.0).coefficients,
            ddpm(process, kept, "fixed_small").coefficients,
            rtol=1e-9,
            atol=1e-12,
        )


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("kept", [FULL[::7], SHORT], ids=["long", "short"])
def test_ddim_steps_equal_those_of_diffusers(
    process: Process, kept: Tensor, clip: float | None
) -> None:
    scheduler = DDIMScheduler(
        T, clip_sample=clip is not None, set_alpha_to_one=True, timestep_spacing="leading"
    )
    table = ddim(process, kept)
    scheduler.set_timesteps(len(kept))
    x_t = draw(2, *SHAPE, seed=4).float()
    for k, t in enumerate(table.t.tolist()):
        t_prev = table.t[k + 1].item() if k + 1 < len(table) else -1
        eps = draw(2, *SHAPE, seed=100 + k).float()
        # diffusers' DDIM takes the previous step to be T / steps before: give it that distance
        scheduler.num_inference_steps = 1
        scheduler.config.num_train_timesteps = t - t_prev
        theirs = scheduler.step(eps, t, x_t, use_clipped_model_output=clip is not None)
        ours = step(x_t, eps, torch.zeros_like(x_t), eps, table.rows[[k, k]], clip)
        torch.testing.assert_close(ours.x_prev, theirs.prev_sample, atol=2e-3, rtol=2e-4)
        x_t = ours.x_prev


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("kept", [FULL, SHORT], ids=["full", "short"])
def test_ddpm_steps_equal_those_of_diffusers(
    process: Process, kept: Tensor, variance: str, z: Tensor
) -> None:
    scheduler = DDPMScheduler(T, clip_sample=True, variance_type=variance)
    table = ddpm(process, kept, variance)  # type: ignore[arg-type]
    scheduler.set_timesteps(timesteps=table.t.tolist())
    x_t = draw(2, *SHAPE, seed=4).float()
    for k in [0, 1, len(table) // 2, len(table) - 2, len(table) - 1]:
        t = table.t[k].item()
        eps = draw(2, *SHAPE, seed=100 + k).float()
        theirs = scheduler.step(eps, t, x_t).prev_sample
        ours = step(x_t, eps, torch.zeros_like(x_t), z, table.rows[[k, k]]).x_prev
        # float32 tables are off by up to 1.7e-4 relative at small t
        torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=5e-4)


@pytest.mark.parametrize("kept", [FULL, SHORT], ids=["full", "short"])
def test_steps_with_a_learned_range_equal_those_of_diffusers(
    process: Process, kept: Tensor, z: Tensor
) -> None:
    scheduler = DDPMScheduler(T, clip_sample=True, variance_type="learned_range")
    table = ddpm(process, kept, "learned_range")
    scheduler.set_timesteps(timesteps=table.t.tolist())
    x_t = draw(2, *SHAPE, seed=4).float()
    for k in [0, 1, len(table) // 2, len(table) - 2, len(table) - 1]:
        t = table.t[k].item()
        out = torch.cat([draw(2, *SHAPE, seed=5 + k), draw(2, *SHAPE, seed=6).tanh()], dim=1)
        theirs = scheduler.step(out.float(), t, x_t).prev_sample
        ours = step(x_t, out.float(), torch.zeros_like(x_t), z, table.rows[[k, k]]).x_prev
        torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=5e-4)


def test_the_ends_of_a_learned_range_are_the_fixed_variances(process: Process) -> None:
    x_t, eps, z = (draw(2, *SHAPE, seed=s).float() for s in range(3))
    learned = ddpm(process, FULL, "learned_range")
    for v, variance in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        out = torch.cat([eps, torch.full_like(eps, v)], dim=1)
        fixed = ddpm(process, FULL, variance)  # type: ignore[arg-type]
        for k in (0, 500, 990, 999):
            ours = step(x_t, out, x_t, z, learned.rows[[k, k]]).x_prev
            expected = step(x_t, eps, x_t, z, fixed.rows[[k, k]]).x_prev
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
            by_fixed = step(x_t, out, x_t, z, fixed.rows[[k, k]]).x_prev
            assert torch.equal(by_fixed, expected), "a fixed variance does not ask v"


@pytest.mark.parametrize("steps", [2, 10, 25])
def test_dpmpp_steps_equal_those_of_diffusers(process: Process, steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(
        T,
        beta_start=1e-4,
        beta_end=0.02,
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    table = make_table(process, "dpmpp", steps)
    assert table.t.tolist() == scheduler.timesteps.tolist()
    x_ours = x_theirs = draw(2, *SHAPE, seed=4).float()
    previous = torch.zeros_like(x_ours)
    for k, t in enumerate(scheduler.timesteps):
        eps = draw(2, *SHAPE, seed=100 + k).float()
        x_theirs = scheduler.step(eps, t, x_theirs).prev_sample
        x_ours, previous = step(
            x_ours, eps, previous, torch.zeros_like(eps), table.rows[[k, k]], clip=None
        )
        scale = x_theirs.abs().max().item()
        torch.testing.assert_close(x_ours, x_theirs, atol=2e-4 * scale, rtol=2e-3)


def test_the_estimate_is_clipped_before_the_mean_is_formed(process: Process) -> None:
    table = ddpm(process, FULL)
    x_t, eps = 3 * draw(1, *SHAPE).float(), draw(1, *SHAPE, seed=5).float()
    row = table.rows[[500]]
    clipped = step(x_t, eps, x_t, torch.zeros_like(x_t), row, clip=1.0)
    free = step(x_t, eps, x_t, torch.zeros_like(x_t), row, clip=None)
    assert clipped.x_0_hat.abs().max() == 1 < free.x_0_hat.abs().max()
    torch.testing.assert_close(clipped.x_0_hat, free.x_0_hat.clamp(-1, 1))
    c = coefficients(table, 500)
    mean = c.c_x * x_t + c.c_0 * clipped.x_0_hat
    torch.testing.assert_close(clipped.x_prev, mean)


def test_rows_of_different_samplers_in_one_batch_equal_separate_steps_by_bytes(
    process: Process,
) -> None:
    tables = [ddpm(process, FULL), ddim(process, SHORT, 0.3), dpmpp(process, SHORT)]
    rows = torch.stack([table.rows[k] for k, table in zip((17, 2, 3), tables, strict=True)])
    x_t, eps, previous, z = (draw(3, *SHAPE, seed=s).float() for s in range(4))
    assert_rows_do_not_meet(x_t, eps, previous, z, rows)


def test_the_same_where_one_of_them_uses_a_learned_variance_and_another_has_none_to_use(
    process: Process,
) -> None:
    learned, free = ddpm(process, FULL, "learned_range"), ddim(process, SHORT)
    rows = torch.stack([learned.rows[17], free.rows[2], learned.rows[-1]])
    x_t, eps, previous, z = (draw(3, *SHAPE, seed=s).float() for s in range(4))
    z[1:] = 0  # the second and third add no noise
    v = draw(3, *SHAPE, seed=4).tanh().float()
    v[1:] = torch.nan  # and do not ask for its scale
    assert_rows_do_not_meet(x_t, torch.cat([eps, v], dim=1), previous, z, rows)


def assert_rows_do_not_meet(
    x_t: Tensor, out: Tensor, previous: Tensor, z: Tensor, rows: Tensor
) -> None:
    """Every row of the batch is a number, and has the bytes that it has alone."""
    together = step(x_t, out, previous, z, rows)
    assert together.x_prev.isfinite().all()
    c = StepCoefficients.of(rows)
    for i in range(len(rows)):
        one = slice(i, i + 1)
        its_previous = previous[one] if c.c_h[i] else None
        alone = step(x_t[one], out[one], its_previous, z[one] if c.c_z[i] else None, rows[one])
        for one_of, other in (
            (together.x_prev[one], alone.x_prev),
            (together.x_0_hat[one], alone.x_0_hat),
        ):
            assert torch.equal(one_of.view(torch.int32), other.view(torch.int32)), "-0 is not 0"


def test_the_same_where_one_of_them_is_minus_zero_and_another_has_noise(process: Process) -> None:
    noisy, free = ddpm(process, FULL), ddim(process, SHORT)
    rows = torch.stack([noisy.rows[17], free.rows[2]])
    x_t, eps, previous, z = (draw(2, *SHAPE, seed=s).float() for s in range(4))
    x_t[1], eps[1], z[1] = -0.0, 0.0, 0.0
    assert_rows_do_not_meet(x_t, eps, previous, z, rows)


MEAN, STD = 0.3, 0.2


def gaussian_model(process: Process) -> object:
    """The optimal epsilon for x_0 ~ N(MEAN, STD^2): E[eps | x_t] in closed form."""

    def model(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
        alpha_bar = process.alpha_bar[t].to(x_t.dtype)[:, None, None, None]
        variance = alpha_bar * STD**2 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() * (x_t - alpha_bar.sqrt() * MEAN) / variance

    return model


@pytest.mark.parametrize(
    ("sampler", "steps", "options"),
    [
        ("ddpm", 1000, {}),
        ("ddpm", 1000, {"variance": "fixed_large"}),
        ("ddpm", 200, {}),
        ("ddim", 100, {}),
        ("ddim", 200, {"eta": 0.5}),
        ("dpmpp", 50, {}),
    ],
)
def test_samples_of_a_gaussian_have_its_mean_and_deviation(
    process: Process, sampler: str, steps: int, options: dict[str, object]
) -> None:
    table = make_table(process, sampler, steps, **options)  # type: ignore[arg-type]
    indices = torch.arange(40)
    *_, last = sample(
        gaussian_model(process),  # type: ignore[arg-type]
        table,
        torch.zeros_like(indices),
        indices,
        (1, 8, 8),
        Conditioning(None),
        clip=None,
    )
    assert last.t == 0
    x_0 = last.x_t.double()
    assert x_0.mean().item() == pytest.approx(MEAN, abs=4 * STD / math.sqrt(x_0.numel()) + 0.01)
    assert x_0.std().item() == pytest.approx(STD, rel=0.08)


def test_the_loop_visits_every_state_once_from_noise_to_image(process: Process) -> None:
    table = make_table(process, "ddim", 5)
    seeds = torch.tensor([1, 1])
    states = list(
        sample(
            gaussian_model(process),  # type: ignore[arg-type]
            table,
            seeds,
            torch.tensor([0, 1]),
            SHAPE,
            Conditioning(None),
        )
    )
    assert [state.t for state in states] == [1000, 800, 600, 400, 200, 0]
    assert torch.equal(states[-1].x_t, states[-1].x_0_hat)
    alone = list(
        sample(
            gaussian_model(process),  # type: ignore[arg-type]
            table,
            seeds[:1],
            torch.tensor([1]),
            SHAPE,
            Conditioning(None),
        )
    )
    assert torch.equal(alone[-1].x_t[0], states[-1].x_t[1]), "sample 1 can be made alone"


def test_the_loop_asks_the_network_twice_for_guidance(process: Process) -> None:
    asked: list[list[int]] = []

    def model(x_t: Tensor, _t: Tensor, label: Tensor | None) -> Tensor:
        assert label is not None
        asked.append(label.tolist())
        return x_t * label[:, None, None, None]

    table = make_table(process, "ddim", 1)
    one = torch.tensor([0])
    condition = Conditioning(torch.tensor([1]), 2.0, null_label=3)
    first, _ = sample(model, table, one, one, SHAPE, condition, clip=None)
    assert asked == [[1], [3]]
    eps = (1 + 2) * first.x_t - 2 * 3 * first.x_t
    a, b = process.alpha_bar[-1].sqrt().item(), (1 - process.alpha_bar[-1]).sqrt().item()
    torch.testing.assert_close(first.x_0_hat, (first.x_t - b * eps) / a)
    with pytest.raises(ValueError, match="guidance: needs a label"):
        next(sample(model, table, one, one, SHAPE, Conditioning(one, 2.0)))


def test_steps_outside_the_chain_are_refused(process: Process) -> None:
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"steps: {steps} is not allowed; it must be 1..1000"):
            make_table(process, "ddpm", steps)


def test_coefficients_are_float64_until_the_end(process: Process) -> None:
    table = ddpm(process, FULL)
    assert {column.dtype for column in table.coefficients} == {torch.float64}
    assert table.rows.dtype == torch.float32
    expected = np.sqrt(np.cumprod(1 - np.linspace(1e-4, 0.02, T)))[::-1]
    np.testing.assert_allclose(table.rows[:, 0].flatten(), expected, rtol=1e-7)
