"""Does a model copy? How near its samples are to the training images, as training showed them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from diffusion.evaluation.draws import choose
from diffusion.evaluation.neighbours import Neighbours, nearest
from diffusion.evaluation.quality import grid
from diffusion.training.augmentation import moved

Array = np.ndarray
COMPARED = 1000
"""Samples that are compared with the training images, at most; and test images."""
SHOWN, COLUMNS = 50, 25
"""Samples that are shown beside their nearest training image, and how many in a row."""
PART = 1000
"""Training images that are held in memory together."""
COPY_QUANTILE = 0.05
"""A sample is called a copy if it is nearer to a training image than all but this share of the test
images are. Of new images, so many are called copies."""


@dataclass(frozen=True)
class Changes:
    """The changes that training made to images, which a copy may show too."""

    flip: bool = False
    shift: int = 0  # pixels

    @classmethod
    def of_training(cls, config: Mapping[str, Any]) -> Self:
        """Read the changes from a `[training]` table, or from what a model card keeps of one."""
        shift = config.get("shift", 0)
        return cls(bool(config.get("horizontal_flip")), shift if isinstance(shift, int) else 0)

    def all_of(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the images (N,C,H,W) in each way in which training may have shown them."""
        moves = range(-self.shift, self.shift + 1)
        for mirrored in (images, images.flip(-1)) if self.flip else (images,):
            for down in moves:
                for across in moves:
                    yield moved(mirrored, torch.tensor([down]), torch.tensor([across]))


def copies(
    samples: Tensor, train: Tensor, test: Tensor | None, changes: Changes
) -> tuple[dict[str, Any], Array]:
    """Measure how near samples are to their nearest training images, and test images, where there
    are any, to theirs.

    All images are uint8 (N,C,H,W), distances RMSE on the 0..255 scale. Returns the numbers, and a
    picture of samples, each above its nearest training image.
    """
    samples = samples[:COMPARED]
    found = _nearest(samples, train, changes)
    numbers: dict[str, Any] = {
        "images": len(samples),
        "samples_median": found.distance.median().item(),
        "samples_least": found.distance.min().item(),
    }
    if test is not None:
        held_out = test[choose(len(test), min(COMPARED, len(test)), seed=0)]
        usual = _nearest(held_out, train, changes).distance
        bound = usual.quantile(COPY_QUANTILE)
        numbers |= {
            "test_images": len(held_out),
            "test_median": usual.median().item(),
            "test_least": usual.min().item(),
            "copy_bound": bound.item(),
            "copies": (found.distance < bound).double().mean().item(),
        }
    return numbers, _pairs(samples, train[found.which])


def _nearest(images: Tensor, train: Tensor, changes: Changes) -> Neighbours:
    """Find the nearest training image of each image (N,C,H,W), and the RMSE in grey levels."""
    origin: list[Tensor] = []  # which training image each row of the references is

    def references() -> Iterator[Tensor]:
        for which in torch.arange(len(train)).split(PART):
            for changed in changes.all_of(train[which]):
                origin.append(which)
                yield changed.flatten(1).float()

    found = nearest(images.flatten(1).float(), references())
    scale = images[0].numel() ** -0.5
    return Neighbours(torch.cat(origin)[found.which], found.distance * scale)


def _pairs(samples: Tensor, nearest_images: Tensor) -> Array:
    """Lay out the first samples, each above its nearest training image."""
    count = min(SHOWN, len(samples))
    columns = min(COLUMNS, count)
    count -= count % columns
    pairs = [samples[:count], nearest_images[:count]]
    rows = [images[i : i + columns] for i in range(0, count, columns) for images in pairs]
    return grid(torch.cat(rows), columns)
