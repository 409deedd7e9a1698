"""Pictures that a user names, as the images of a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion import pixels
from diffusion.data.picture import Form, PictureError, decode, look, only_bombs_warned_of
from diffusion.pixels import PICTURE_CHANNELS
from diffusion.sampling import RequestError

BLACK = (0, 0, 0)
"""Behind transparent pixels, as over HTTP."""


def read_pictures(
    paths: Sequence[Path], field: str, image_shape: tuple[int, int, int], *, resize: bool
) -> Tensor:
    """Read pictures as images of a model, (N,C,H,W) float32 in [-1, 1].

    Each has the model's size, or is scaled to it with `resize`, and cut in the middle. Raises
    RequestError, which names the field, the file and the reason.
    """
    if image_shape[0] not in PICTURE_CHANNELS:
        reason = f"the model's images have {image_shape[0]} channels, and pictures 1 or 3"
        raise refused(field, paths[0], reason)
    images = np.stack([_read(path, field, image_shape, resize=resize) for path in paths])
    return pixels.to_model(torch.from_numpy(images))


def read_mask(path: Path, image_shape: tuple[int, int, int], *, resize: bool) -> Tensor:
    """Read a mask, (1,1,H,W) float32: 1 where it is white, 0 where it is black. Raises RequestError
    as `read_pictures` does."""
    grey = _read(path, "mask", (1, *image_shape[1:]), resize=resize)
    return torch.from_numpy(grey)[None].float() / 255


def refused(field: str, path: Path, reason: str) -> RequestError:
    """An error that names the field and the file."""
    return RequestError(f"{field}: {str(path)!r} is not allowed: {reason}")


def _read(
    path: Path, field: str, image_shape: tuple[int, int, int], *, resize: bool
) -> pixels.Array:
    C, H, W = image_shape
    form = Form(C, (H, W), "center", BLACK)
    try:
        raw = path.read_bytes()
        with only_bombs_warned_of():
            size = look(raw).size
            if size != (H, W) and not resize:
                reason = f"it is {size[1]} x {size[0]} pixels, and the model's images {W} x {H}"
                raise refused(field, path, f"{reason}; --resize scales it")
            return decode(raw, form, path.name).copy()  # Pillow's own cannot be written to
    except OSError as error:
        raise refused(field, path, error.strerror or str(error)) from error
    except PictureError as error:
        raise refused(field, path, str(error)) from error
