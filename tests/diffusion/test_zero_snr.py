"""Chains that end at alpha_bar_T = 0: nothing is left of the image, and x_0_hat is still exact."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from diffusion.bound import Reverse, bound
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.config import Config, Prediction, ProcessConfig, TrainingConfig
from diffusion.fields import ConfigError
from diffusion.guidance import Conditioning
from diffusion.parameterization import min_snr_weight, target
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.sampling import Request, RequestError
from diffusion.spacing import FROM_ZERO_SNR, SamplerName, Spacing
from tests.diffusion.chain import draw
from tests.tiny import save_tiny

T = 20
SHAPE = (1, 8, 8)
THEIRS: dict[str, Any] = {
    "num_train_timesteps": T, "beta_schedule": "scaled_linear", "beta_start": 0.01,
    "beta_end": 0.5, "rescale_betas_zero_snr": True, "clip_sample": True,
}  # fmt: skip


@pytest.fixture(params=["v_prediction", "sample"])
def checkpoint(tmp_path: Path, request: pytest.FixtureRequest) -> Checkpoint:
    folder = save_tiny(tmp_path / "tiny")
    scheduler = DDPMScheduler(**THEIRS, prediction_type=request.param)
    scheduler.save_pretrained(folder / "scheduler")
    return open_checkpoint(folder)


def prediction_type(checkpoint: Checkpoint) -> str:
    return {"v": "v_prediction", "x_0": "sample"}[checkpoint.process.prediction]


def states(checkpoint: Checkpoint, sampler: SamplerName, steps: int) -> list[Tensor]:
    """All states of a chain whose model gives eps_hat alone, as every chain's does."""
    process = Process.from_config(checkpoint.process)
    table = make_table(process, sampler, steps)
    one = torch.ones(2, dtype=torch.int64)
    made = sample(checkpoint.eps_model(), table, one, one, SHAPE, Conditioning(None))
    return [state.x_t for state in made]


def test_the_file_of_diffusers_gives_its_chain(checkpoint: Checkpoint) -> None:
    process = Process.from_config(checkpoint.process)
    theirs = DDPMScheduler(**THEIRS).alphas_cumprod
    assert process.alpha_bar[-1] == 0
    torch.testing.assert_close(process.alpha_bar, theirs.double(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("steps", [T, 5, 1])
def test_ddim_gives_what_diffusers_gives(checkpoint: Checkpoint, steps: int) -> None:
    scheduler = DDIMScheduler(
        **THEIRS, prediction_type=prediction_type(checkpoint), timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    network = checkpoint.load()
    ours = states(checkpoint, "ddim", steps)
    x = ours[0]
    for t, expected in zip(scheduler.timesteps, ours[1:], strict=True):
        out = network(x, t.expand(2), None)
        x = scheduler.step(out, t, x, use_clipped_model_output=True).prev_sample
        torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)


def test_algorithm_2_gives_what_diffusers_gives(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDPMScheduler(**THEIRS, prediction_type=prediction_type(checkpoint))
    process, network, model = (
        Process.from_config(checkpoint.process), checkpoint.load(), checkpoint.eps_model()
    )  # fmt: skip
    table = make_table(process, "ddpm", T)
    x_t = draw(2, *SHAPE, seed=1).float()
    z = draw(2, *SHAPE, seed=2).float()
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_args, **_options: z
    )
    first = {name: float(column[0]) for name, column in table.coefficients._asdict().items()}
    t = torch.full((2,), T - 1)
    x_0_hat = (x_t - model(x_t, t, None)).clamp(-1, 1)
    ours = first["c_x"] * x_t + first["c_0"] * x_0_hat + first["c_z"] * z
    theirs = scheduler.step(network(x_t, t, None), T - 1, x_t).prev_sample
    assert first["c_x"] == 0, "x_T tells nothing of x_{T-1}"
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [T, 5])
def test_dpmpp_gives_the_limit_of_chains_that_end_ever_closer_to_noise(
    checkpoint: Checkpoint, steps: int
) -> None:
    exact = Process.from_config(checkpoint.process)
    beta = exact.beta.clone()
    beta[-1] = 1 - 1e-9
    near = make_table(Process.from_beta(beta), "dpmpp", steps)
    limit = make_table(exact, "dpmpp", steps)
    for name in ("c_x", "c_0", "c_h1", "c_z"):
        ours, theirs = (getattr(table.coefficients, name) for table in (limit, near))
        assert bool(ours.isfinite().all())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.1)
    torch.testing.assert_close(
        limit.coefficients.c_0[0], near.coefficients.c_0[0], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["even", "quadratic", "log_snr", "karras"])
@pytest.mark.parametrize("sampler", FROM_ZERO_SNR)
def test_every_spacing_gives_images(
    checkpoint: Checkpoint, sampler: SamplerName, name: Any
) -> None:
    process = Process.from_config(checkpoint.process)
    spacing = Spacing.by_name(name, 6, process.alpha_bar.tolist())
    table = make_table(process, sampler, spacing)
    one = torch.ones(2, dtype=torch.int64)
    *_, last = sample(checkpoint.eps_model(), table, one, one, SHAPE, Conditioning(None))
    assert bool(last.x_t.isfinite().all())


@pytest.mark.parametrize("sampler", ["unipc", "ipndm"])
def test_samplers_without_a_first_step_are_refused(checkpoint: Checkpoint, sampler: Any) -> None:
    with pytest.raises(RequestError, match=f"sampler: '{sampler}' .* one of ddpm, ddim, dpmpp"):
        Request(seed=0, n=1, sampler=sampler).check(checkpoint)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        make_table(Process.from_config(checkpoint.process), sampler, 4)


@pytest.mark.parametrize("prediction", ["v", "x_0"])
def test_the_bound_has_no_prior_and_no_gap(prediction: Prediction) -> None:
    """A model that knows the image: its x_0_hat is exact at all t, T among them."""
    config = ProcessConfig(T, "linear", zero_terminal_snr=True, prediction=prediction)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process = Process.from_config(dataclasses.replace(config, beta_start=0.01, beta_end=0.5))
    x_0 = (torch.randint(0, 256, (2, *SHAPE)) / 127.5 - 1).float()

    def model(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
        a = process.x_0_divisor[t][:, None, None, None]
        b = (1 - process.alpha_bar).sqrt()[t][:, None, None, None]
        return (x_t.double() - a * x_0) / b

    terms = bound(Reverse(model, process, "fixed_small"), x_0)
    assert bool((terms.prior == 0).all())
    assert bool((terms.x_0_mse < 1e-6).all())
    assert bool((terms.eps_mse < 1e-6).all())
    assert bool(terms.total.isfinite().all())


def test_min_snr_weights_would_leave_the_first_step_of_every_chain_untrained() -> None:
    process = ProcessConfig(T, zero_terminal_snr=True, prediction="v")
    training = TrainingConfig(min_snr_gamma=5.0)
    with pytest.raises(ConfigError, match="min_snr_gamma: 5.0 .* left out with zero_terminal_snr"):
        Config(process=process, training=training)
    Config(process=process)
    table = Process.from_config(dataclasses.replace(process, beta_start=0.01, beta_end=0.5))
    assert min_snr_weight("v", table, 5.0)[-1] == 0


@pytest.mark.parametrize("prediction", ["v", "x_0"])
def test_what_is_learned_at_t_T_is_the_image(prediction: Prediction) -> None:
    config = ProcessConfig(
        T, beta_start=0.01, beta_end=0.5, zero_terminal_snr=True, prediction=prediction
    )
    x_0, eps = draw(2, *SHAPE, seed=1), draw(2, *SHAPE, seed=2)
    t = torch.full((2,), T - 1)
    wanted = target(prediction, Process.from_config(config), x_0, t, eps)
    assert torch.equal(wanted, x_0 if prediction == "x_0" else -x_0)
