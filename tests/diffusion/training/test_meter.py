"""What a run's log tells, and how long it will take."""

import time

import pytest
import torch

from diffusion.training.batches import Batch
from diffusion.training.losses import Losses
from diffusion.training.meter import Meter, Pace


class Clock:
    """A monotonic clock that stands still between calls of `pass_by`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


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


def test_what_is_not_training_does_not_count_for_images_a_second(clock: Clock) -> None:
    meter = Meter(num_timesteps=4, norms=[torch.tensor(1.0)], started=clock.now)
    batch = Batch(torch.zeros(0), torch.zeros(20), torch.zeros(0), None, torch.ones(20))
    meter.add(batch, Losses(torch.ones(20), torch.ones(20)))
    clock.pass_by(2)
    with meter.paused():
        clock.pass_by(100)
    clock.pass_by(3)
    assert meter.scalars()["images_per_second"] == 20 / 5


def test_the_pace_is_known_after_ten_steps_of_which_the_first_does_not_count(clock: Clock) -> None:
    pace = Pace(start=50)
    clock.pass_by(500)
    known = []
    for step in range(51, 65):
        known.append(pace.note(step))
        clock.pass_by(2.5)
    assert known == [False] * 9 + [True] + [False] * 4
    assert pace.left(4000) == "about 2 h 47 min left, at 2.5 s a step"
