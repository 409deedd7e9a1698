"""The classifier that says whether samples show their label, and how far it can be believed."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion.data.images import DataError, Images
from diffusion.evaluation.classifier import (
    CARD,
    WEIGHTS,
    Classifier,
    accuracy,
    load_classifier,
    save_classifier,
    train,
)
from diffusion.evaluation.draws import Stream
from diffusion.folders import MODELS
from diffusion.training.randomness import generator_at

log = logging.getLogger(__name__)
EPOCHS = 5
"""Passes over the data of a classifier that is trained because none is at hand."""
HELD_OUT = 0.1
"""The share of the training images that it is not trained on, where there is no test split."""
LEAST_SIZE = 8
"""Pixels of a side that the classifier needs: it halves images three times."""


@dataclass(frozen=True)
class Judge:
    """A classifier, and what is known of it: its classifier.json."""

    classifier: Classifier
    card: dict[str, Any]
    sha256: str  # of its weights

    @property
    def channels(self) -> int:
        """Channels of the images that it takes."""
        return int(next(self.classifier.parameters()).shape[1])

    def accuracy_on(self, test: Images | None) -> dict[str, Any] | None:
        """Return the share of held-out images that it recognises, in JSON types, and which these
        are: test images, else those that its card tells of. None where nothing is known."""
        known = len(self.classifier.head.bias)
        if test is not None and test.labels is not None and int(test.labels.max()) < known:
            return {"accuracy": accuracy(self.classifier, test), "images": len(test), "of": "test"}
        if "held_out_accuracy" in self.card:
            found, count = self.card["held_out_accuracy"], self.card["held_out_images"]
            return {"accuracy": found, "images": count, "of": "train, held out"}
        if "test_accuracy" in self.card:
            return {"accuracy": self.card["test_accuracy"], "images": None, "of": "its own card"}
        return None


def find_judge(
    given: Path | None, data: str, images: Images, test: Images | None, out: Path
) -> Judge | None:
    """Return the classifier given; else the built-in one for the data; else one trained on the
    training `images`, which is kept in `out`, and trained again where it is damaged.
    None where they have no labels to learn from.

    Raises DataError where the one given cannot be read, or is for images of other channels.
    """
    channels = images.pixels.shape[1]
    if given is not None:
        judge = _load(given)
        if judge.channels != channels:
            reason = f"is for images of {judge.channels} channels, and the data have {channels}"
            raise DataError(f"classifier: {given} {reason}")
        return judge
    built_in, trained = MODELS / f"{Path(data).name}-classifier", out / "classifier"
    if built_in.is_dir() and (judge := _load(built_in)).channels == channels:
        return judge
    if (kept := _kept(trained)) is not None:
        return kept
    if images.labels is None or min(images.pixels.shape[2:]) < LEAST_SIZE:
        return None
    _train(data, images, test, trained)
    return _load(trained)


def _kept(folder: Path) -> Judge | None:
    """The classifier that was trained before; None where there is none, or it is damaged."""
    if not folder.exists():
        return None
    try:
        return _load(folder)
    except DataError as error:
        log.warning("%s; another is trained", error)
        return None


def _load(folder: Path) -> Judge:
    classifier, card = load_classifier(folder), folder / CARD
    try:
        known = json.loads(card.read_text()) if card.exists() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{card}: not a classifier's card: {error}") from error
    if not isinstance(known, dict):
        raise DataError(f"{card}: not a classifier's card: it must be a JSON object")
    return Judge(classifier, known, hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def _train(data: str, images: Images, test: Images | None, folder: Path) -> None:
    """Train a classifier and write it to `folder`; without a labelled test split some of the images
    are held out, to measure it on."""
    if test is not None and test.labels is not None:
        save_classifier(train(images, EPOCHS), folder, {"data": data})
        return
    order = torch.randperm(len(images), generator=generator_at(0, Stream.HELD_OUT, 0))
    count = max(1, round(HELD_OUT * len(images)))
    model = train(images, EPOCHS, among=order[count:])
    held_out = accuracy(model, images, order[:count])
    card = {"data": data, "held_out_images": count, "held_out_accuracy": round(held_out, 4)}
    save_classifier(model, folder, card)
