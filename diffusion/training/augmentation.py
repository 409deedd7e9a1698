"""Changes of a training image that keep what it shows: it is mirrored, or moved a few pixels."""

import torch
from torch import Tensor

from diffusion.config import TrainingConfig
from diffusion.data.images import Images


def flip(
    x_0: Tensor, may_flip: Tensor | None, label: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Mirror each image (B,C,H,W) with probability 1/2, if its class may be mirrored.

    `may_flip` says so for each class, bool (classes,), and `label`, int64 (B,), is the class of
    each image; None for either: all images may be.
    """
    flipped = torch.rand(len(x_0), generator=generator) < 0.5
    if may_flip is not None and label is not None:
        flipped &= may_flip[label]
    return torch.where(flipped[:, None, None, None], x_0.flip(-1), x_0)


def move(x_0: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Move each image (B,C,H,W) by -shift..shift pixels down and as many across, at random."""
    down, across = torch.randint(-shift, shift + 1, (2, len(x_0)), generator=generator)
    return moved(x_0, down, across)


def moved(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Move images (B,C,H,W) by so many pixels, int64 (B,) or (1,).

    The pixels at the border are repeated where the image came from.
    """
    B, _, H, W = images.shape
    row = (torch.arange(H) - down[:, None]).clamp(0, H - 1)  # (B,H): which row comes here
    column = (torch.arange(W) - across[:, None]).clamp(0, W - 1)  # (B,W)
    image = torch.arange(B)[:, None, None]
    return images.movedim(1, -1)[image, row[:, :, None], column[:, None, :]].movedim(-1, 1)


def classes_to_flip(config: TrainingConfig, data: Images) -> Tensor | None:
    """Return for each class whether it may be mirrored, bool (classes,); None: for all the same.

    The data has the classes that `horizontal_flip` names: see `diffusion.training.checks`.
    """
    names = config.horizontal_flip
    if isinstance(names, bool):
        return None
    return torch.tensor([name in names for name in data.classes])
