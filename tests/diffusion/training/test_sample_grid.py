"""The pictures on the way: what they show, and that they never end a run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.data.images import Images
from diffusion.training.sample_grid import MOST_COLUMNS, ROWS, draw_samples
from diffusion.training.stopping import Stop
from diffusion.training.trainer import Trainer
from tests.diffusion.training.test_trainer import CONFIG, images


def size(run: Path) -> tuple[int, int]:
    with Image.open(run / "samples" / "step-00000000.png") as image:
        return image.size


class Pictures(list[tuple[str, tuple[int, ...], int]]):
    """A Writer that remembers the shapes of its images."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None: ...

    def add_image(self, tag: str, image: np.ndarray, step: int, /) -> None:
        self.append((tag, image.shape, step))


def test_the_grid_has_a_column_for_each_class(tmp_path: Path) -> None:
    writer = Pictures()
    draw_samples(Trainer(CONFIG, images(), tmp_path), writer, Stop())
    assert size(tmp_path) == (3 * 8, ROWS * 8)
    assert writer == [("samples", (1, ROWS * 8, 3 * 8), 0)]


@pytest.mark.slow
def test_of_many_classes_the_first_are_shown(tmp_path: Path) -> None:
    many = Images(
        torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40), tuple(map(str, range(40)))
    )
    unet = dataclasses.replace(CONFIG.unet, num_class_embeds=41)
    draw_samples(Trainer(dataclasses.replace(CONFIG, unet=unet), many, tmp_path), None, Stop())
    assert size(tmp_path) == (MOST_COLUMNS * 8, ROWS * 8)


def test_the_grid_of_a_model_without_labels_is_square(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG,
        unet=dataclasses.replace(CONFIG.unet, num_class_embeds=None),
        training=dataclasses.replace(CONFIG.training, label_dropout=0.0),
    )
    draw_samples(Trainer(config, images(), tmp_path), None, Stop())
    assert size(tmp_path) == (ROWS * 8, ROWS * 8)


def test_progress_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_samples(Trainer(CONFIG, images(), tmp_path), None, Stop())
    assert "samples of step 0" in capsys.readouterr().err


def test_a_failure_is_told_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    (tmp_path / "samples").write_text("in the way")
    draw_samples(trainer, None, Stop())
    assert "step 0: no samples: " in caplog.text
    assert trainer.step == 0


def test_a_stop_ends_the_drawing_too(tmp_path: Path) -> None:
    stop = Stop()
    stop.number = 15
    draw_samples(Trainer(CONFIG, images(), tmp_path), None, stop)
    assert not (tmp_path / "samples").exists()
