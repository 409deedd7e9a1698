"""Are label-conditioned samples recognised as their label? A small classifier that says.

    python -m diffusion.evaluation.classifier --data mnist --out models/mnist-classifier

`ddpm evaluate` uses it, for the features that distances are measured in too.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from diffusion import pixels
from diffusion.data import datasets
from diffusion.data.readers import DataError, Images
from diffusion.training.randomness import generator_at

WEIGHTS = "classifier.safetensors"
SHIFT = 2
"""Augmentation: each training image is moved by up to this many pixels."""
ORDER = 0
"""The stream of random numbers that the order of the images is drawn from, in each epoch anew."""


class Classifier(nn.Module):
    """Three stages of two 3x3 convolutions, then an average over positions."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (32, 64, 128):
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B,C,H,W) in [-1, 1] to logits (B,K)."""
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


def save_classifier(model: Classifier, folder: Path, card: Mapping[str, object]) -> None:
    """Write the weights, and what there is to say of them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / WEIGHTS)
    (folder / "classifier.json").write_text(json.dumps(card, indent=2) + "\n")


def load_classifier(folder: Path) -> Classifier:
    """The classifier that `save_classifier` wrote. Raises DataError where there is none."""
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder}: no classifier here ({WEIGHTS} is missing)")
    state = load_file(folder / WEIGHTS)
    channels = state["features.0.weight"].shape[1]
    model = Classifier(channels, len(state["head.bias"]))
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def classify(model: Classifier, x: Tensor) -> Tensor:
    """The most likely label (N,) of each x (N,C,H,W) in [-1, 1]."""
    return torch.cat([model(part).argmax(dim=1) for part in x.split(500)])


def accuracy(model: Classifier, images: Images) -> float:
    """The share of images whose label is recognised."""
    found = classify(model.eval(), pixels.to_model(images.pixels))
    return (found == _labels(images)).double().mean().item()


def train(images: Images, num_epochs: int, batch_size: int = 128, seed: int = 0) -> Classifier:
    """Fit a classifier with Adam, one cosine cycle, random shifts."""
    torch.manual_seed(seed)
    batch_size = min(batch_size, len(images))
    labels = _labels(images)
    model = Classifier(images.pixels.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = num_epochs * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    bar = tqdm(total=steps, desc="training the classifier", unit="step")
    for epoch in range(num_epochs):
        order = torch.randperm(len(images), generator=generator_at(seed, ORDER, epoch))
        for index in order[: len(order) // batch_size * batch_size].split(batch_size):
            x = _shift(pixels.to_model(images.pixels[index]))
            loss = F.cross_entropy(model(x), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    bar.close()
    return model.eval()


def _labels(images: Images) -> Tensor:
    if images.labels is None:
        raise DataError("the data has no labels to recognise")
    return images.labels


def _shift(x: Tensor) -> Tensor:
    """Every image of the batch by its own offset, the border repeated."""
    B, _, H, W = x.shape
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    dy, dx = torch.randint(2 * SHIFT + 1, (2, B)).unbind()
    rows = dy[:, None] + torch.arange(H)  # (B,H)
    columns = dx[:, None] + torch.arange(W)  # (B,W)
    batch = torch.arange(B)[:, None, None]
    return padded.transpose(0, 1)[:, batch, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


@dataclass(frozen=True)
class Recognition:
    """`recognised` of `total` samples; `by_label`: the share for each label."""

    recognised: int
    total: int
    by_label: list[float]


def measure(classifier: Classifier, x_0: Tensor, labels: Tensor) -> Recognition:
    """Compare what is recognised in samples x_0 (N,C,H,W) with the labels asked for (N,)."""
    right = classify(classifier, x_0) == labels
    by_label = [right[labels == k].double().mean().item() for k in labels.unique().tolist()]
    return Recognition(int(right.sum()), len(right), by_label)


def main(argv: list[str] | None = None) -> None:
    """The command in this module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m diffusion.evaluation.classifier", description="Train a classifier."
    )
    parser.add_argument("--data", default="mnist", help="data set, by name or path (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the data (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    model = train(datasets.load(args.data, "train"), args.epochs)
    test = accuracy(model, datasets.load(args.data, "test"))
    card = {"data": args.data, "epochs": args.epochs, "test_accuracy": round(test, 4)}
    save_classifier(model, args.out, card)
    sys.stdout.write(f"{test:.2%} of the test set recognised; written to {args.out}\n")


if __name__ == "__main__":
    main()
