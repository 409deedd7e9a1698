"""From the model's float images in [-1, 1] to uint8 pixels and back, and pictures of these.

NumPy only (torch is not imported), so that a server process can encode images without it.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray
PICTURE_CHANNELS = (1, 3)
"""Channels of images that are pictures: grey, RGB."""


def to_model(pixels: "Tensor") -> "Tensor":
    """Convert uint8 to float32 of the same shape: exactly k / 127.5 - 1 (section 3.3)."""
    return pixels.float() / 127.5 - 1.0


def to_uint8(x: Array) -> Array:
    """Convert float (…,C,H,W), clipped to [-1, 1], to uint8 (…,H,W,C), rounded to the nearest."""
    # Truncation instead would darken every image by half a grey level.
    rounded = np.round((np.clip(x, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.moveaxis(rounded, -3, -1)


def tile(images: Array, columns: int | None = None) -> Array:
    """Lay out images uint8 (N,H,W,C), row by row, in one picture (rows*H, columns*W, C).

    Without `columns` it is nearly square. Empty cells are black.
    """
    N, H, W, C = images.shape
    columns = columns or math.ceil(math.sqrt(N))
    rows = math.ceil(N / columns)
    grid = np.zeros((rows, H, columns, W, C), np.uint8)
    for row in range(rows):  # in place: a large picture is in memory once
        shown = images[row * columns : (row + 1) * columns]
        grid[row, :, : len(shown)] = shown.swapaxes(0, 1)
    return grid.reshape(rows * H, columns * W, C)


def picture(pixels: Array) -> Image.Image:
    """Make a Pillow image of uint8 (H,W,C): grey (mode L) for C = 1, RGB for C = 3."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
