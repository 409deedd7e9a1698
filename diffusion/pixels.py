"""Between the model's float images in [-1, 1] and uint8 pixels, and pictures of these.

Arrays only (torch is not imported), so that a server process can encode without it.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray


def to_model(pixels: "Tensor") -> "Tensor":
    """uint8 to float32 of the same shape: exactly k / 127.5 - 1, no dequantisation."""
    return pixels.float() / 127.5 - 1.0


def to_uint8(x: Array) -> Array:
    """float (…,C,H,W), clipped to [-1, 1], to uint8 (…,H,W,C).

    Rounded: truncation would darken every image by half a level.
    """
    rounded = np.round((np.clip(x, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.moveaxis(rounded, -3, -1)


def to_float(image: Array) -> Array:
    """uint8 (…,H,W,C) to float32 (…,C,H,W): what `to_uint8` undoes."""
    return np.moveaxis(image, -1, -3).astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def tile(images: Array, columns: int | None = None) -> Array:
    """uint8 (N,H,W,C) as one (rows*H, columns*W, C), row by row, near-square unless told; empty
    cells are black."""
    N, H, W, C = images.shape
    columns = columns or math.ceil(math.sqrt(N))
    rows = math.ceil(N / columns)
    cells = np.zeros((rows * columns, H, W, C), np.uint8)
    cells[:N] = images
    grid = cells.reshape(rows, columns, H, W, C).swapaxes(1, 2)  # (rows, H, columns, W, C)
    return grid.reshape(rows * H, columns * W, C)


def picture(pixels: Array) -> Image.Image:
    """uint8 (H,W,C), C = 1 or 3, as a Pillow image of mode L or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def write_images(path: Path, images: Array) -> None:
    """uint8 (n,H,W,C): a grid as .png, `images` as .npz, else a folder of PNGs."""
    if path.suffix == ".npz":
        np.savez_compressed(path, images=images)
    elif path.suffix:
        picture(tile(images)).save(path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            picture(image).save(path / f"{i:06d}.png")
