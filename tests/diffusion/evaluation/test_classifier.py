"""The classifier that says whether digits are legible."""

import json
from pathlib import Path

import torch

from diffusion.data.images import Images
from diffusion.evaluation.classifier import Classifier, accuracy, load_classifier, measure, train

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

    x_0 = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0])[:, None, None, None].expand(5, 1, 8, 8)
    found = measure(Brightest(1, 2), x_0, torch.tensor([0, 1, 1, 1, 0]))
    assert (found.recognised, found.total) == (3, 5)
    assert found.by_label == [0.5, 2 / 3]


def test_it_learns_to_tell_stripes_apart() -> None:
    pixels = torch.zeros(512, 1, 16, 16, dtype=torch.uint8)
    labels = torch.arange(512) % 2
    pixels[labels == 0, :, ::4] = 255
    pixels[labels == 1, :, :, ::4] = 255
    stripes = Images(pixels, labels, ("across", "down"))
    assert accuracy(train(stripes, num_epochs=2, batch_size=64), stripes) == 1.0
