"""eps, x_0 and v predictions: one quantity inside, diffusers' words at the edge."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from diffusion.parameterization import EpsModel, min_snr_weight, target
from diffusion.process import Process
from diffusion.reverse import step
from diffusion.samplers import ddim
from diffusion.schedules import linear_beta
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

PREDICTIONS: list[Any] = ["eps", "x_0", "v"]
THEIRS = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
PROCESS = Process.from_beta(linear_beta(1000))


def draw(seed: int, count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 4, 4, generator=generator)


class Always(nn.Module):
    """A network that gives what it is told to."""

    def __init__(self, out: Tensor) -> None:
        super().__init__()
        self.out = out
        self.config = UNetConfig()

    def forward(self, *_: object) -> Tensor:
        return self.out


def eps_model(prediction: Any, out: Tensor) -> EpsModel:
    return EpsModel(Always(out), PROCESS, prediction)  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_that_gives_its_target_gives_eps(prediction: Any) -> None:
    x_0, eps, t = draw(0), draw(1), torch.tensor([0, 10, 300, 700, 999])
    model = eps_model(prediction, target(prediction, PROCESS, x_0, t, eps))
    x_t = PROCESS.q_sample(x_0, t, eps)
    torch.testing.assert_close(model(x_t, t, None), eps, atol=2e-4, rtol=1e-4)


def test_v_is_that_of_diffusers() -> None:
    x_0, eps, t = draw(0), draw(1), torch.tensor([0, 10, 300, 700, 999])
    theirs = DDPMScheduler(1000).get_velocity(x_0, eps, t)
    torch.testing.assert_close(target("v", PROCESS, x_0, t, eps), theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_step_with_any_prediction_is_that_of_diffusers(prediction: Any) -> None:
    kept = torch.tensor([199, 399, 599, 799, 999])
    table = ddim(PROCESS, kept)
    scheduler = DDIMScheduler(
        1000, prediction_type=THEIRS[prediction], timestep_spacing="trailing", clip_sample=True
    )
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == table.t.tolist()
    x_t, out = draw(4), draw(5)
    for k, t in enumerate(table.t.tolist()):
        theirs = scheduler.step(out, t, x_t, use_clipped_model_output=True).prev_sample
        eps_hat = eps_model(prediction, out)(x_t, torch.full((5,), t), None)
        rows = table.rows[[k] * 5]
        ours = step(x_t, eps_hat, (), torch.zeros_like(x_t), rows).x_prev
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_eps_predictions_pass_through_untouched() -> None:
    config = UNetConfig(
        sample_size=4, in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    torch.manual_seed(0)
    unet = UNet(config).eval()
    x_t, t = draw(0), torch.tensor([0, 10, 300, 700, 999])
    assert torch.equal(EpsModel(unet, PROCESS, "eps")(x_t, t), unet(x_t, t))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_weights_are_min_snr_gammas(prediction: Any) -> None:
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    snr = alpha_bar / (1 - alpha_bar)
    clipped = np.minimum(snr, 5)
    expected = {"eps": clipped / snr, "x_0": clipped, "v": clipped / (snr + 1)}[prediction]
    np.testing.assert_allclose(min_snr_weight(prediction, PROCESS, 5), expected, rtol=1e-9)


def test_all_three_weightings_are_one_loss_on_x_0() -> None:
    """An error of x0_hat costs the same whatever the network predicts."""
    t = torch.tensor([3, 200, 900])
    x_0, eps, error = draw(0, 3), draw(1, 3), 0.1 * draw(2, 3)
    x_t = PROCESS.q_sample(x_0, t, eps)
    a, b = PROCESS.alpha_bar[t].sqrt(), (1 - PROCESS.alpha_bar[t]).sqrt()
    wrong_x_0 = x_0 + error
    wrong_eps = (x_t - a.float()[:, None, None, None] * wrong_x_0) / b.float()[:, None, None, None]
    losses = []
    for prediction in PREDICTIONS:
        off = target(prediction, PROCESS, wrong_x_0, t, wrong_eps) - target(
            prediction, PROCESS, x_0, t, eps
        )
        weight = min_snr_weight(prediction, PROCESS, 5.0)[t]
        losses.append(weight * off.double().square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-2, atol=1e-6)
