"""Pictures that a user names, as the images of a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion import pixels
from diffusion.data.model_image import WrongSize, model_image
from diffusion.data.picture import PictureError
from diffusion.pixels import PICTURE_CHANNELS
from diffusion.sampling import RequestError


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
    try:
        return model_image(path.read_bytes(), image_shape, resize=resize, name=path.name)
    except OSError as error:
        raise refused(field, path, error.strerror or str(error)) from error
    except WrongSize as error:
        raise refused(field, path, f"{error}; --resize scales it") from error
    except PictureError as error:
        raise refused(field, path, str(error)) from error
