"""A small classifier, which tells whether samples show the label that was asked for.

    python -m diffusion.evaluation.classifier --data mnist --out models/mnist-classifier

`ddpm evaluate` also measures distances in its features.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from diffusion import pixels
from diffusion.atomic import atomic_folder
from diffusion.data import datasets
from diffusion.data.images import DataError, Images
from diffusion.training.randomness import generator_at

WEIGHTS = "classifier.safetensors"
CARD = "classifier.json"
SHIFT = 2
"""Augmentation: each training image is moved by up to so many pixels in both directions."""
PART = 500
"""Images whose labels are found at once."""
ORDER = 0
"""The stream of random numbers that the order of the images is drawn from, in each epoch anew."""


class Classifier(nn.Module):
    """Three stages of two 3x3 convolutions, an average over positions, and a linear layer."""

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
        """Compute logits (B,K) of images x (B,C,H,W) in [-1, 1]."""
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


def save_classifier(model: Classifier, folder: Path, card: Mapping[str, object]) -> None:
    """Write the weights to `folder`, and the card, how they came about, as classifier.json: both or
    nothing. Raises DataError where they cannot be written."""
    try:
        with atomic_folder(folder) as partial:
            save_file(model.state_dict(), partial / WEIGHTS)
            (partial / CARD).write_text(json.dumps(card, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: the classifier cannot be written: {error}") from error


def load_classifier(folder: Path) -> Classifier:
    """Read what `save_classifier` wrote, in evaluation mode. Raises DataError where it is not."""
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder}: no classifier here ({WEIGHTS} is missing)")
    try:
        state = load_file(folder / WEIGHTS)
        channels = state["features.0.weight"].shape[1]
        model = Classifier(channels, len(state["head.bias"]))
        model.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder / WEIGHTS}: not a classifier's weights: {reason}") from error
    return model.eval()


@torch.no_grad()
def classify(model: Classifier, images: Tensor) -> Tensor:
    """Return the most likely label (N,) of each image, uint8 (N,C,H,W)."""
    parts = images.split(PART)
    return torch.cat([model(pixels.to_model(part)).argmax(dim=1) for part in parts])


def accuracy(model: Classifier, images: Images, among: Tensor | None = None) -> float:
    """Return the share of the images, or of those at the indices `among`, whose label is
    recognised. Raises DataError without labels."""
    labels = _labels(images)
    right = 0
    for index in (torch.arange(len(images)) if among is None else among).split(PART):
        right += int((classify(model.eval(), images.pixels[index]) == labels[index]).sum())
    return right / (len(images) if among is None else len(among))


def train(
    images: Images,
    num_epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    among: Tensor | None = None,
) -> Classifier:
    """Fit a classifier to the images, or to those at the indices `among`, with Adam, one cycle of
    the learning rate and random shifts.

    Raises DataError for images without labels.
    """
    torch.manual_seed(seed)
    labels = _labels(images)
    among = torch.arange(len(images)) if among is None else among
    batch_size = min(batch_size, len(among))
    model = Classifier(images.pixels.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = num_epochs * (len(among) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    bar = tqdm(total=steps, desc="training the classifier", unit="step")
    for epoch in range(num_epochs):
        order = among[torch.randperm(len(among), generator=generator_at(seed, ORDER, epoch))]
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
        raise DataError("data: a classifier needs labels, and these images have none")
    return images.labels


def _shift(x: Tensor) -> Tensor:
    """Move every image of x (B,C,H,W) by an offset of its own; the border is repeated."""
    B, _, H, W = x.shape
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    dy, dx = torch.randint(2 * SHIFT + 1, (2, B)).unbind()
    rows = dy[:, None] + torch.arange(H)  # (B,H)
    columns = dx[:, None] + torch.arange(W)  # (B,W)
    batch = torch.arange(B)[:, None, None]
    return padded.transpose(0, 1)[:, batch, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


@dataclass(frozen=True)
class Recognition:
    """How many samples were recognised as the label asked for."""

    recognised: int
    total: int
    by_label: list[float]  # the share of each label that was asked for, in order


def measure(classifier: Classifier, samples: Tensor, labels: Tensor) -> Recognition:
    """Compare the labels recognised in samples uint8 (N,C,H,W) with those asked for (N,)."""
    right = classify(classifier, samples) == labels
    by_label = [right[labels == k].double().mean().item() for k in labels.unique().tolist()]
    return Recognition(int(right.sum()), len(right), by_label)


def main(argv: list[str] | None = None) -> None:
    """Run the command in this module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m diffusion.evaluation.classifier",
        description="Train a classifier for `ddpm evaluate --classifier`, and measure it.",
        epilog="example:\n"
        "  python -m diffusion.evaluation.classifier --data mnist --out models/mnist-classifier",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default="mnist", metavar="NAME|PATH",
        help="data set by name, or path to labelled images (default: %(default)s)")  # fmt: skip
    add("--epochs", type=int, default=5, metavar="COUNT",
        help="passes over the data (default: %(default)s)")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    args = parser.parse_args(argv)
    model = train(datasets.load(args.data, "train"), args.epochs)
    test = accuracy(model, datasets.load(args.data, "test"))
    card = {"data": args.data, "epochs": args.epochs, "test_accuracy": round(test, 4)}
    save_classifier(model, args.out, card)
    sys.stdout.write(f"{test:.2%} of the test set recognised; written to {args.out}\n")


if __name__ == "__main__":
    main()
