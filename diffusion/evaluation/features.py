"""The features in which sets of images are compared: a classifier's, or Inception-v3's (FID)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from diffusion import pixels
from diffusion.config import FeaturesName
from diffusion.evaluation.classifier import Classifier

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""As torch-fidelity publishes and keeps it: the network that FID is defined with."""
TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch's own switch."""


class FeaturesError(ValueError):
    """The features asked for cannot be had; the message says what is missing."""


@dataclass(frozen=True)
class Features:
    """`extract` turns images uint8 (N,C,H,W) into features (N,D)."""

    name: str
    batch_size: int
    extract: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features (N,D) of images uint8 (N,C,H,W), made `batch_size` at a time."""
        return torch.cat([self.extract(part) for part in images.split(self.batch_size)])


def pick(name: FeaturesName, classifier: Classifier) -> Features:
    """The features by name; `auto`: Inception's if its weights are at hand, else the classifier's.

    Raises FeaturesError when those named cannot be had.
    """
    if name == "inception" or (name == "auto" and inception_weights().is_file()):
        return inception(inception_weights())
    if name not in get_args(FeaturesName):
        raise FeaturesError(f"features: {name!r} is not one of {', '.join(get_args(FeaturesName))}")
    return of_classifier(classifier)


def of_classifier(classifier: Classifier) -> Features:
    """The average over positions of the classifier's last convolution."""

    def extract(images: Tensor) -> Tensor:
        made: Tensor = classifier.features(pixels.to_model(images)).mean(dim=(2, 3))
        return made

    return Features("the classifier's last layer before the head", 500, extract)


def inception_weights() -> Path:
    """Where torch keeps the file, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def inception(weights: Path) -> Features:
    """The 2048 pooled features of Inception-v3, by torch-fidelity; grey images as three channels.

    Raises FeaturesError without the weights or the library.
    """
    if not weights.is_file():
        raise FeaturesError(
            f"features: inception: {weights} is missing; it is published with torch-fidelity's "
            "release v0.2.0"
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # a torchvision of another build: RuntimeError
        raise FeaturesError(
            f"features: inception: torch-fidelity cannot be imported ({error}); install the extra "
            "`inception`, with the torchvision that belongs to this torch"
        ) from error
    try:
        with _tensors_only():
            network = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    except Exception as error:  # whatever the library meets in a file that is not its own
        raise FeaturesError(f"features: inception: {weights}: not a file of its weights") from error

    def extract(images: Tensor) -> Tensor:
        (made,) = network(images.expand(-1, 3, -1, -1))
        return torch.as_tensor(made)

    return Features("Inception-v3's 2048 pooled features (torch-fidelity)", 50, extract)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Have torch read tensors and nothing else, also where a library asks for all of a pickle."""
    before = os.environ.get(TENSORS_ONLY)
    os.environ[TENSORS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TENSORS_ONLY]
        else:
            os.environ[TENSORS_ONLY] = before
