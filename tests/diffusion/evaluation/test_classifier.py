"""The classifier that says whether digits are legible."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffusion.data.images import DataError, Images
from diffusion.evaluation.classifier import (
    WEIGHTS,
    Classifier,
    accuracy,
    load_classifier,
    measure,
    train,
)

SHIPPED = Path(__file__).parents[3] / "models" / "mnist-classifier"


def test_the_shipped_classifier_was_measured_on_the_test_set() -> None:
    card = json.loads((SHIPPED / "classifier.json").read_text())
    assert card["test_accuracy"] >= 0.993
    assert load_classifier(SHIPPED)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_samples_are_counted_by_the_label_asked_for() -> None:
    class Brightest(Classifier):
        """Label 1 for bright images, 0 for dark ones."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = x.mean(dim=(1, 2, 3))
            return torch.stack([-bright, bright], dim=1)

    levels = torch.tensor([0, 0, 255, 255, 255], dtype=torch.uint8)
    samples = levels[:, None, None, None].expand(5, 1, 8, 8)
    found = measure(Brightest(1, 2), samples, torch.tensor([0, 1, 1, 1, 0]))
    assert (found.recognised, found.total) == (3, 5)
    assert found.by_label == [0.5, 2 / 3]


def stripes(count: int) -> Images:
    """Images of two classes, with stripes across or down."""
    pixels = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    pixels[labels == 0, :, ::4] = 255
    pixels[labels == 1, :, :, ::4] = 255
    return Images(pixels, labels, ("across", "down"))


def test_it_learns_to_tell_stripes_apart() -> None:
    assert accuracy(train(stripes(512), num_epochs=2, batch_size=64), stripes(512)) == 1.0


def test_images_that_are_left_out_are_not_learned_from() -> None:
    images = stripes(64)
    labels = images.labels.clone()
    labels[48:] = 1 - labels[48:]  # wrong ones, which learning from them would show
    among = torch.arange(48)
    model = train(Images(images.pixels, labels, images.classes), 4, 16, among=among)
    whole = Images(images.pixels, labels, images.classes)
    assert accuracy(model, whole, among) == 1.0
    assert accuracy(model, whole, torch.arange(48, 64)) == 0.0
    assert accuracy(model, whole) == 0.75


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no classifier here"):
        load_classifier(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(DataError, match="classifier.safetensors: not a classifier's weights"):
        load_classifier(tmp_path)
    save_file({"weight": torch.zeros(3)}, tmp_path / WEIGHTS)
    with pytest.raises(DataError, match="classifier.safetensors: not a classifier's weights"):
        load_classifier(tmp_path)
