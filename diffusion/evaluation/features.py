"""The features in which sets of images are compared: a classifier's, or those of Inception-v3, as
FID has them."""

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
"""The file of torch-fidelity's that holds the network which FID is defined with."""
TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""PyTorch's own environment variable: set, files are read without running code in them."""


class FeaturesError(ValueError):
    """The features asked for are not available; the message says what is missing."""


@dataclass(frozen=True)
class Features:
    """A way to turn images uint8 (N,C,H,W) into features (N,D)."""

    name: str  # for reports
    batch_size: int  # images at a time
    extract: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute the features (N,D) of images uint8 (N,C,H,W), `batch_size` at a time."""
        return torch.cat([self.extract(part) for part in images.split(self.batch_size)])


def pick(name: FeaturesName, classifier: Classifier) -> Features:
    """Return the features of that name; `auto` is Inception's where its weights are stored, else
    the classifier's.

    Raises FeaturesError where those named are not available.
    """
    if name == "inception" or (name == "auto" and inception_weights().is_file()):
        return inception(inception_weights())
    if name not in get_args(FeaturesName):
        raise FeaturesError(f"features: {name!r} is not one of {', '.join(get_args(FeaturesName))}")
    return of_classifier(classifier)


def of_classifier(classifier: Classifier) -> Features:
    """Return the features of a classifier: its last convolution, averaged over positions."""

    def extract(images: Tensor) -> Tensor:
        made: Tensor = classifier.features(pixels.to_model(images)).mean(dim=(2, 3))
        return made

    return Features("the classifier's last layer before the head", 500, extract)


def inception_weights() -> Path:
    """Return where PyTorch stores the weights, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def inception(weights: Path) -> Features:
    """Return the 2048 pooled features of Inception-v3, by torch-fidelity, from its weights' file.

    Grey images are given to it as three equal channels. Raises FeaturesError where the weights or
    the library are missing, or the file holds something else.
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
        reason = "not a file of Inception's weights"
        raise FeaturesError(f"features: inception: {weights}: {reason}") from error

    def extract(images: Tensor) -> Tensor:
        (made,) = network(images.expand(-1, 3, -1, -1))
        return torch.as_tensor(made)

    return Features("Inception-v3's 2048 pooled features (torch-fidelity)", 50, extract)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """A block in which PyTorch reads tensors and runs nothing, whatever a library asks of it."""
    before = os.environ.get(TENSORS_ONLY)
    os.environ[TENSORS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TENSORS_ONLY]
        else:
            os.environ[TENSORS_ONLY] = before
