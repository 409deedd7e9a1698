"""What a run's log tells."""

import pytest
import torch

from diffusion.training.batches import Batch
from diffusion.training.losses import Losses
from diffusion.training.meter import Meter


def test_the_loss_is_also_told_by_quartile_of_t() -> None:
    meter = Meter(num_timesteps=100)
    meter.times.append(torch.tensor([0, 24, 25, 99]))
    meter.losses.append(torch.tensor([4.0, 4.0, 4.0, 4.0]))
    meter.simple.append(torch.tensor([1.0, 2.0, 3.0, 5.0]))
    meter.weights.append(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    meter.norms.append(torch.tensor(2.0))
    scalars = meter.scalars()
    assert (scalars["loss"], scalars["loss_simple"]) == (4.0, 2.75)
    assert scalars["gradient_norm"] == 2.0
    quartiles = {k: v for k, v in scalars.items() if k.startswith("loss_by_t")}
    assert quartiles == {
        "loss_by_t/quartile_1": 1.5,
        "loss_by_t/quartile_2": 3.0,
        "loss_by_t/quartile_4": 5.0,
    }


def test_the_losses_told_are_means_over_uniform_t_however_it_was_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([0.7, 0.2, 0.05, 0.05], dtype=torch.float64)
    t = torch.multinomial(p, 20_000, replacement=True, generator=generator)
    loss = torch.tensor([8.0, 4.0, 2.0, 6.0])[t]
    batch = Batch(torch.zeros(0), t, torch.zeros(0), None, (1 / (4 * p[t])).float())
    meter = Meter(num_timesteps=4, norms=[torch.tensor(1.0)])
    meter.add(batch, Losses(loss, loss))
    scalars = meter.scalars()
    assert scalars["loss"] == pytest.approx(5, rel=0.02)
    assert scalars["loss_simple"] == scalars["loss"]
    assert scalars["loss_by_t/quartile_1"] == pytest.approx(8)
