"""Each objective against its formula in float64, and what its gradient moves."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from diffusion import noise
from diffusion.bound import Reverse, bound, term
from diffusion.config import Config, ProcessConfig, TrainingConfig
from diffusion.fields import ConfigError
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.training.batches import Batch
from diffusion.training.losses import Objective, squared_error
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

T = 100


def config(
    loss: Any = "simple",
    variance: Any = "fixed_large",
    prediction: Any = "eps",
    clip: float | None = 1.0,
    **fields: Any,
) -> Config:
    channels = 2 if variance == "learned_range" else 1
    unet = UNetConfig(
        sample_size=4, in_channels=1, out_channels=channels, block_out_channels=(8,),
        layers_per_block=1, norm_num_groups=4, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )  # fmt: skip
    return Config(
        process=ProcessConfig(T, variance=variance, prediction=prediction, clip=clip),
        unet=unet,
        training=TrainingConfig(loss=loss, batch_size=4, **fields),
    )


def objective(of: Config) -> Objective:
    torch.manual_seed(0)
    return Objective(of, Process.from_config(of.process), UNet(of.unet))


def batch(t: list[int] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x_0 = torch.randint(256, (4, 1, 4, 4), generator=generator) / 127.5 - 1
    eps = torch.randn(x_0.shape, generator=generator)
    return Batch(x_0, torch.tensor(t or [0, 1, 50, 99]), eps, None, torch.ones(4))


def plain_table() -> tuple[Tensor, Tensor]:
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-3, 0.2, T).double(), 0)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


@pytest.mark.parametrize("prediction", ["eps", "x_0", "v"])
def test_l_simple_is_eq_14_or_the_same_for_another_target(prediction: Any) -> None:
    made, drawn = objective(config(prediction=prediction)), batch()
    a, b = (table[drawn.t][:, None, None, None] for table in plain_table())
    x_0, eps = drawn.x_0.double(), drawn.eps.double()
    out = made.model.unet((a * x_0 + b * eps).float(), drawn.t).double()
    wanted = {"eps": eps, "x_0": x_0, "v": a * eps - b * x_0}[prediction]
    losses = made(drawn)
    expected = (wanted - out).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses.simple.double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(losses.total, losses.simple)


def test_min_snr_weighs_l_simple() -> None:
    drawn = batch()
    losses = objective(config(min_snr_gamma=5.0))(drawn)
    a, b = plain_table()
    snr = (a / b).square()[drawn.t]
    torch.testing.assert_close(
        losses.total.double(), losses.simple.double() * snr.clamp(max=5) / snr, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_bound_is_t_times_the_term_in_bits_per_dim(variance: Any, prediction: Any) -> None:
    of = config("bound", variance, prediction)
    made, drawn = objective(of), batch()
    process = Process.from_config(of.process)
    model = EpsModel(made.model.unet, process, prediction)
    reverse = Reverse(model, process, variance)
    nats = term(reverse, drawn.x_0, drawn.t, drawn.eps, None).nats
    expected = T * nats / (math.log(2) * 16)
    torch.testing.assert_close(made(drawn).total.double(), expected, rtol=1e-3, atol=1e-3)


def test_the_mean_over_all_t_of_the_bound_objective_is_the_bound_but_for_its_prior() -> None:
    of = config("bound", "fixed_large")
    made = objective(of)
    x_0 = batch().x_0[:1]
    reverse = Reverse(made.model, made.process, "fixed_large")
    totals, terms = [], bound(reverse, x_0, seed=3)
    one = torch.tensor([0])
    for t in range(T):
        eps = noise.normal(one + 3, one, one + t + 1, (1, 4, 4))
        totals.append(made(Batch(x_0, one + t, eps, None, torch.ones(1))).total)
    expected = (terms.decoder + terms.denoising) / (math.log(2) * 16)
    torch.testing.assert_close(torch.cat(totals).double().mean(), expected[0], rtol=1e-4, atol=0)


def test_hybrid_adds_the_bound_and_moves_the_variance_by_it_alone() -> None:
    drawn = batch()
    simple = objective(config("bound", "learned_range"))(drawn)
    hybrid = objective(config("hybrid", "learned_range", bound_weight=0.01))
    losses = hybrid(drawn)
    torch.testing.assert_close(losses.total, simple.simple + 0.01 * simple.total)

    def gradient(of: Config) -> Tensor:
        made = objective(of)
        made(drawn).total.mean().backward()
        unet = made.model.unet
        assert isinstance(unet, UNet)
        found = unet.conv_out.bias.grad
        assert found is not None
        return found

    mixed = gradient(config("hybrid", "learned_range", bound_weight=0.01))
    pure = gradient(config("bound", "learned_range"))
    plain = gradient(config("simple", "fixed_large"))
    torch.testing.assert_close(mixed[1], 0.01 * pure[1], rtol=1e-4, atol=0)
    assert plain[0] != 0 and pure[0] != 0
    # eps_hat's gradient is L_simple's: that of the squared error on its own
    alone = objective(config("hybrid", "learned_range"))
    x_t = alone.process.q_sample(drawn.x_0, drawn.t, drawn.eps)
    error = squared_error(alone.model.unet(x_t, drawn.t), alone.process, drawn, "eps")
    error.mean().backward()
    torch.testing.assert_close(mixed[0], alone.model.unet.conv_out.bias.grad[0])


@pytest.mark.parametrize("t", [0, 1, 50])
def test_in_the_bound_what_the_clip_mends_costs_nothing(t: int) -> None:
    """x0_hat beyond a black pixel is as good as black; beyond a grey one it is drawn back, by the
    gradient of what the clip leaves."""
    made = objective(config("bound"))
    q, eps = made.process, torch.zeros(1, 1, 4, 4)
    for x_0, moved in ((-1.0, False), (-1 + 2 / 255, True)):
        drawn = Batch(torch.full((1, 1, 4, 4), x_0), torch.tensor([t]), eps, None, torch.ones(1))
        x_t = q.q_sample(drawn.x_0, drawn.t, eps)
        eps_hat = torch.full_like(x_t, 3.0).requires_grad_()  # x0_hat is below -1
        assert (q.predict_x_0(x_t, drawn.t, eps_hat) < -1).all()
        made._bound(drawn, x_t, eps_hat).sum().backward()
        assert eps_hat.grad is not None
        assert bool((eps_hat.grad > 0).all()) is moved
        assert bool((eps_hat.grad == 0).all()) is not moved


def test_gradients_are_finite_at_every_t_even_far_off() -> None:
    for variance in ("fixed_large", "learned_range"):
        made = objective(config("bound", variance))
        with torch.no_grad():
            made.model.unet.conv_out.bias.add_(50.0)  # eps_hat is far from eps
        for t in (0, 1, 2, 50, 99):
            made(batch([t] * 4)).total.mean().backward()
        assert all(p.grad.isfinite().all() for p in made.model.unet.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "hybrid"}, "loss: 'hybrid' is not allowed; it must be simple or bound"),
        ({"variance": "learned_range"}, "loss: 'simple' is not allowed; it must be hybrid or"),
        ({"timesteps": "importance"}, "timesteps: 'importance' is not allowed; it must be uniform"),
        ({"loss": "bound", "min_snr_gamma": 5.0}, "min_snr_gamma: 5.0 is not allowed"),
    ],
)
def test_objectives_that_do_not_fit_the_model_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**fields)


def test_training_on_the_bound_lowers_it() -> None:
    made = objective(config("bound", "learned_range", clip=None))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(made.model.unet.parameters(), lr=3e-3)
    history = []
    for _ in range(150):
        x_0 = (0.25 * torch.randn(32, 1, 4, 4, generator=generator)).clamp(-1, 1)
        x_0 = ((x_0 + 1) * 127.5).round() / 127.5 - 1
        t = torch.randint(1, T, (32,), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        losses = made(Batch(x_0, t, eps, None, torch.ones(32))).total
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        history.append(losses.mean().item())
    assert sum(history[-20:]) < 0.5 * sum(history[:20])
