"""What every training step draws: each image once an epoch, and the same again after a stop."""

import pytest
import torch

from diffusion.data.images import Images
from diffusion.process import Process
from diffusion.training.batches import Batches
from tests.diffusion.training.test_trainer import CONFIG, images, with_training


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    config = with_training(batch_size=5, horizontal_flip=False)
    numbered = Images(
        torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 1, 8, 8),
        torch.arange(20) % 3,
        ("a", "b", "c"),
    )
    batches = Batches(numbered, config, Process.from_config(config.process))
    seen = [
        ((batches.at(step).x_0[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() for step in range(8)
    ]
    first, second = sum(seen[:4], []), sum(seen[4:], [])
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    process = Process.from_config(CONFIG.process)
    ahead, back = Batches(images(), CONFIG, process), Batches(images(), CONFIG, process)
    steps = [ahead.at(step) for step in range(6)]
    for step in reversed(range(6)):
        again = back.at(step)
        assert torch.equal(again.x_0, steps[step].x_0) and torch.equal(again.eps, steps[step].eps)
    assert not torch.equal(steps[0].eps, steps[1].eps)


def test_a_batch_prepared_is_the_one_drawn_later() -> None:
    process = Process.from_config(CONFIG.process)
    ahead, later = Batches(images(), CONFIG, process), Batches(images(), CONFIG, process)
    ahead.prepare(3)
    assert torch.equal(ahead.at(2).eps, later.at(2).eps)
    assert torch.equal(ahead.at(3).eps, later.at(3).eps)


def test_the_share_of_labels_dropped_and_the_times_drawn_are_as_configured() -> None:
    config = with_training(batch_size=4000, label_dropout=0.1)
    batch = Batches(images(4000), config, Process.from_config(config.process)).at(0)
    assert batch.label is not None
    assert (batch.label == 3).double().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (batch.t.min().item(), batch.t.max().item()) == (0, 99)
    assert batch.t.double().mean().item() == pytest.approx(49.5, abs=2)


def test_half_of_the_images_are_mirrored_when_asked() -> None:
    config = with_training(batch_size=2000, horizontal_flip=True)
    ramp = torch.arange(8, dtype=torch.uint8).expand(2000, 1, 8, 8)
    data = Images(ramp, torch.arange(2000) % 3, ("a", "b", "c"))
    x_0 = Batches(data, config, Process.from_config(config.process)).at(0).x_0
    mirrored = (x_0[:, 0, 0, 0] > x_0[:, 0, 0, -1]).double().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.05)
