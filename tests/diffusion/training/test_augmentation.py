"""Images are mirrored and moved as the configuration says, and nothing else is changed."""

import dataclasses

import numpy as np
import pytest
import torch

from diffusion.config import TrainingConfig
from diffusion.data.images import Images
from diffusion.fields import ConfigError
from diffusion.process import Process
from diffusion.training.augmentation import move
from diffusion.training.batches import Batches
from diffusion.training.checks import check_data
from diffusion.training.errors import TrainingError
from tests.diffusion.training.test_trainer import CONFIG, images, with_training


def test_images_of_the_named_classes_alone_are_mirrored() -> None:
    config = with_training(batch_size=3000, horizontal_flip=("b", "c"), label_dropout=0.5)
    label = torch.arange(3000) % 3
    brighter = 100 * (label == 0).byte()[:, None, None, None]
    ramp = torch.arange(8, dtype=torch.uint8) + brighter.expand(3000, 1, 8, 8)
    data = Images(ramp, label, ("a", "b", "c"))
    x_0 = Batches(data, config, Process.from_config(config.process)).at(0).x_0
    mirrored = x_0[:, 0, 0, 0] > x_0[:, 0, 0, -1]
    of_a = x_0[:, 0, 0].amax(-1) > -0.5
    assert of_a.sum() == 1000 and not mirrored[of_a].any()
    assert mirrored[~of_a].double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_moved_image_is_a_window_on_the_image_with_its_border_repeated() -> None:
    x_0 = torch.randn(200, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    moved = move(x_0, 2, torch.Generator().manual_seed(2))
    places = set()
    for image, result in zip(x_0.numpy(), moved.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        windows = {
            (row, column): padded[:, row : row + 5, column : column + 7]
            for row in range(5)
            for column in range(5)
        }
        (place,) = [at for at, window in windows.items() if np.array_equal(window, result)]
        places.add(place)
    assert places == {(row, column) for row in range(5) for column in range(5)}


def test_to_move_images_changes_no_other_draw() -> None:
    still, moving = (
        Batches(images(), config, Process.from_config(config.process)).at(3)
        for config in (with_training(shift=0), with_training(shift=1))
    )
    assert torch.equal(still.t, moving.t) and torch.equal(still.eps, moving.eps)
    assert still.label is not None and moving.label is not None
    assert torch.equal(still.label, moving.label) and not torch.equal(still.x_0, moving.x_0)


def test_a_class_that_the_data_does_not_have_is_refused() -> None:
    config = with_training(horizontal_flip=("a", "dogs"))
    with pytest.raises(
        TrainingError, match=r"^horizontal_flip: 'dogs' .* has classes a, b, c, and"
    ):
        check_data(config, images())
    unlabelled = dataclasses.replace(CONFIG.unet, num_class_embeds=None)
    training = dataclasses.replace(CONFIG.training, horizontal_flip=("a",), label_dropout=0.0)
    config = dataclasses.replace(CONFIG, unet=unlabelled, training=training)
    with pytest.raises(TrainingError, match=r"'a' is not allowed; the data has no classes"):
        check_data(config, Images(images().pixels, None))


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^shift: -1 is not allowed"):
        TrainingConfig(shift=-1)
