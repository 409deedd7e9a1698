"""What a data set is, once it is read: its splits, and what was left out of them."""

import warnings
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.data.names import printable

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class DataError(ValueError):
    """A data set is missing, damaged or of the wrong shape; the message, one line, says which and
    why."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NoSplitError(DataError):
    """The data set has no such split."""


class HoldoutError(DataError):
    """No images can be set aside as the test split."""


@dataclass(frozen=True)
class Images:
    """The images of one split. They may be memory-mapped, and larger than the memory.

    Raises DataError where there are none, or where they have no pixels.
    """

    pixels: Tensor  # uint8 (N,C,H,W)
    labels: Tensor | None  # int64 (N,)
    classes: tuple[str, ...] = ()  # the labels' names

    def __post_init__(self) -> None:
        if 0 in self.pixels.shape:
            shape = tuple(self.pixels.shape)
            raise DataError(
                f"data: images (N,C,H,W) of {shape} are not allowed; they have no pixels"
            )

    def __len__(self) -> int:
        return len(self.pixels)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Wrap an array, which may be mapped and larger than the memory, without copying it.

    It is not to be written to.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


@dataclass(frozen=True)
class LeftOut:
    """A file, folder or row that is not among the images, and the reason."""

    path: str
    why: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.why}")


@dataclass(frozen=True)
class DataSet:
    """All splits of a data set, and what reading it brought to light."""

    splits: dict[Split, Images]
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)  # images of each (H, W) found
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    def split(self, name: Split) -> Images:
        """Return a split. Raises NoSplitError where there is none of that name."""
        if name not in self.splits:
            found = ", ".join(self.splits)
            raise NoSplitError(
                f"data: there is no {name} split, only {found}; put images into a folder {name}/, "
                "or set [data] holdout to set training images aside as the test split"
            )
        return self.splits[name]
