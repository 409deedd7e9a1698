"""Samplers against Algorithm 2, the diffusers schedulers, their papers, and a known answer."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import remember, sample, step
from diffusion.sampler_table import SamplerTable, StepCoefficients
from diffusion.samplers import ddim, ddpm, dpmpp, ipndm, make_table, unipc
from diffusion.spacing import Spacing
from tests.diffusion.chain import FULL, SHAPE, SHORT, T, draw


@pytest.fixture
def z(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The noise that diffusers' DDPM scheduler is made to draw."""
    noise = draw(2, *SHAPE, seed=9).float()
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_args, **_options: noise
    )
    return noise


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
    tables = [ddpm(process, FULL), ddim(process, SHORT), dpmpp(process, SHORT)]
    for table in [*tables, unipc(process, SHORT), ipndm(process, SHORT)]:
        last = coefficients(table, -1)
        assert last.c_x.item() == pytest.approx(0, abs=1e-12)
        assert not any(c.item() for c in last.c_h)
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
        ours = step(x_t, eps, (), eps, table.rows[[k, k]], clip)
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
        ours = step(x_t, eps, (), z, table.rows[[k, k]]).x_prev
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
        ours = step(x_t, out.float(), (), z, table.rows[[k, k]]).x_prev
        torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=5e-4)


def test_the_ends_of_a_learned_range_are_the_fixed_variances(process: Process) -> None:
    x_t, eps, z = (draw(2, *SHAPE, seed=s).float() for s in range(3))
    learned = ddpm(process, FULL, "learned_range")
    for v, variance in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        out = torch.cat([eps, torch.full_like(eps, v)], dim=1)
        fixed = ddpm(process, FULL, variance)  # type: ignore[arg-type]
        for k in (0, 500, 990, 999):
            ours = step(x_t, out, (), z, learned.rows[[k, k]]).x_prev
            expected = step(x_t, eps, (), z, fixed.rows[[k, k]]).x_prev
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
            by_fixed = step(x_t, out, (), z, fixed.rows[[k, k]]).x_prev
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
            x_ours, eps, (previous,), torch.zeros_like(eps), table.rows[[k, k]], clip=None
        )
        scale = x_theirs.abs().max().item()
        torch.testing.assert_close(x_ours, x_theirs, atol=2e-4 * scale, rtol=2e-3)


def toy_eps(x: np.ndarray, k: int) -> np.ndarray:
    """Some eps_hat of the state at step k, curved in x."""
    return 0.8 * np.tanh(x) + 0.1 * np.cos(k + x)


def run(table: SamplerTable, x: Tensor, clip: float | None = None) -> Tensor:
    """A chain from x in float64, with the toy's eps_hat."""
    rows = torch.stack(table.coefficients, dim=1)[:, :, None, None, None]
    history: list[Tensor] = []
    for k in range(len(table)):
        eps = torch.from_numpy(toy_eps(x.numpy(), k))
        row = rows[[k]].expand(len(x), -1, -1, -1, -1)
        x_prev, x_0_hat = step(x, eps, history, None, row, clip)
        history.insert(0, remember(x, x_0_hat, row))
        x = x_prev
    return x


class Reading:
    """alpha, sigma and lambda of a chain's states, from noise to the image, as scalars."""

    def __init__(self, process: Process, kept: Tensor) -> None:
        alpha_bar = [*process.alpha_bar[kept].flip(0).tolist(), 1.0]
        self.alpha = [math.sqrt(a) for a in alpha_bar]
        self.sigma = [math.sqrt(1 - a) for a in alpha_bar]
        self.lam = [
            math.log(a / s) if s else math.inf for a, s in zip(self.alpha, self.sigma, strict=True)
        ]

    def x_0_hat(self, x: np.ndarray, k: int, clip: float | None) -> np.ndarray:
        found = (x - self.sigma[k] * toy_eps(x, k)) / self.alpha[k]
        return found if clip is None else found.clip(-clip, clip)


def unipc_by_the_paper(process: Process, kept: Tensor, x: np.ndarray, clip: float | None) -> Any:
    """Algorithms 5 and 6 of Zhao et al. 2023 for x_0_hat, predictor and corrector one after the
    other, the corrected state kept."""
    r, S = Reading(process, kept), len(kept)
    known: list[np.ndarray] = []  # x_0_hat of every state so far
    orders: list[int] = []

    def update(k: int, start: np.ndarray, places: list[int]) -> np.ndarray:
        """From state k to k + 1, with what is known at these places beside k."""
        h = r.lam[k + 1] - r.lam[k]
        decay = r.sigma[k + 1] / r.sigma[k]
        B = math.expm1(-h)
        made = decay * start - r.alpha[k + 1] * B * known[k]
        if places:
            rk = np.array([(r.lam[k + p] - r.lam[k]) / h for p in places])
            phi, right = B / -h, []  # phi_1(z) = (e^z - 1) / z at z = -h
            for n in range(1, len(places) + 1):
                phi = (phi - 1 / math.factorial(n)) / -h  # phi_{n+1}
                right.append(math.factorial(n) * phi * -h / B)
            rho = (
                [0.5]
                if len(places) == 1
                else np.linalg.solve(np.stack([rk**n for n in range(len(places))]), right)
            )
            for weight, ratio, p in zip(rho, rk, places, strict=True):
                made = made - r.alpha[k + 1] * B * weight * (known[k + p] - known[k]) / ratio
        return made

    corrected = x
    for k in range(S):
        known.append(r.x_0_hat(x, k, clip))
        if k:
            corrected = update(k - 1, corrected, [1, *(-j for j in range(1, orders[-1]))])
        orders.append(min(3, k + 1, S - k))
        x = update(k, corrected, [-j for j in range(1, orders[-1])])
    return x


def ipndm_by_the_paper(process: Process, kept: Tensor, x: np.ndarray, clip: float | None) -> Any:
    """The Adams-Bashforth method in x / alpha over sigma / alpha, with a list of slopes; to x_0_hat
    at the end."""
    r = Reading(process, kept)
    slopes: list[np.ndarray] = []
    for k in range(len(kept)):
        x_0_hat = r.x_0_hat(x, k, clip)
        slopes.insert(0, (x - r.alpha[k] * x_0_hat) / r.sigma[k])
        match slopes:
            case [a, *_] if k in (0, len(kept) - 1):
                slope = a
            case [a, b]:
                slope = (3 * a - b) / 2
            case [a, b, c]:
                slope = (23 * a - 16 * b + 5 * c) / 12
            case [a, b, c, d, *_]:
                slope = (55 * a - 59 * b + 37 * c - 9 * d) / 24
        ratio, after = r.sigma[k] / r.alpha[k], r.sigma[k + 1] / r.alpha[k + 1]
        x = r.alpha[k + 1] * (x / r.alpha[k] + (after - ratio) * slope)
    return x


@pytest.mark.parametrize("clip", [None, 1.0], ids=["free", "clipped"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 30])
@pytest.mark.parametrize(
    ("sampler", "reading"), [(unipc, unipc_by_the_paper), (ipndm, ipndm_by_the_paper)]
)
def test_multistep_samplers_equal_a_plain_reading_of_their_papers(
    process: Process, sampler: Any, reading: Any, steps: int, clip: float | None
) -> None:
    kept = torch.tensor(Spacing.even(T, steps).kept)
    x = draw(2, *SHAPE, seed=1)
    expected = torch.from_numpy(reading(process, kept, x.numpy(), clip))
    torch.testing.assert_close(
        run(sampler(process, kept), x, clip), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 25])
def test_unipc_steps_equal_those_of_diffusers(process: Process, steps: int) -> None:
    scheduler = UniPCMultistepScheduler(
        T,
        beta_start=1e-4,
        beta_end=0.02,
        solver_order=3,
        solver_type="bh2",
        final_sigmas_type="zero",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    table = make_table(process, "unipc", steps)
    assert table.t.tolist() == scheduler.timesteps.tolist()
    x_theirs = x = draw(2, *SHAPE, seed=4)
    for k, t in enumerate(scheduler.timesteps):
        eps = torch.from_numpy(toy_eps(x_theirs.numpy(), k))
        x_theirs = scheduler.step(eps, t, x_theirs).prev_sample
    # diffusers keeps its sigmas in float32
    torch.testing.assert_close(run(table, x), x_theirs, rtol=1e-4, atol=1e-5)


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
        ("unipc", 50, {}),
        ("ipndm", 50, {}),
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


def test_steps_outside_the_chain_are_refused(process: Process) -> None:
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"steps: {steps} is not allowed; it must be 1..1000"):
            make_table(process, "ddpm", steps)
