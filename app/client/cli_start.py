"""The start and the mask that the flags of `ddpm sample --server` ask for, read here: the server
gets images of the model's size."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from app.client.pictures import base64_of
from app.client.results import Array
from app.client.starts import Start
from diffusion.data.model_image import WrongSize, model_image
from diffusion.data.picture import PictureError
from diffusion.sample_flags import DEFAULT_N, unmet_start
from diffusion.state_file import StateFileError, read_states


class FlagError(ValueError):
    """A flag that cannot be; the message names it."""


@dataclass(frozen=True)
class Given:
    """What the flags name, read: at most one kind of start."""

    pictures: Sequence[Array] = ()  # uint8 (H,W,C), of --start-image
    pair: Sequence[Array] = ()  # of --start-images
    seeds: Sequence[int] = ()
    states: Array | None = None  # float32 (n,C,H,W)
    weights: Sequence[float] = (0.5,)
    t: int | None = None
    mask: Array | None = None  # uint8 (H,W,1)

    @classmethod
    def of(cls, args: argparse.Namespace, image_shape: tuple[int, int, int]) -> Self:
        """Read what the flags name, for a model's images. Raises FlagError."""
        unmet = unmet_start(args)
        if unmet is not None:
            field, value, flags = unmet
            raise FlagError(f"{field}: {value!r} is not allowed: it needs {flags}")
        C, H, W = image_shape

        def read(field: str, paths: Sequence[Path] | None, channels: int = C) -> list[Array]:
            shape = channels, H, W
            return [_picture(field, path, shape, resize=args.resize) for path in paths or ()]

        states, t = None, args.t
        if args.start_x_t:
            states, t = _states(args.start_x_t, t)
        return cls(
            pictures=read("start_image", args.start_image),
            pair=read("start_images", args.start_images),
            seeds=args.seeds or (),
            states=states,
            weights=args.weights or (0.5,),
            t=t,
            mask=next(iter(read("mask", [args.mask] if args.mask else None, 1)), None),
        )

    def count(self, n: int | None) -> int:
        """How many images are made: n, or else one for each state, or for each picture or weight
        where these are several. Raises FlagError where some are given for other numbers."""
        several = max(len(self.pictures), len(self.weights))
        states = 0 if self.states is None else len(self.states)
        total = (states or (several if several > 1 else DEFAULT_N)) if n is None else n
        for field, given in (
            ("start_image", len(self.pictures)),
            ("weights", len(self.weights)),
            ("start_x_t", states),
        ):
            if given not in (0, 1, total):
                reason = f"give one, or one for each of the n = {total} images"
                raise FlagError(f"{field}: {given} is not allowed: {reason}")
        return total

    def part(self, first: int, n: int) -> Start | None:
        """The start of some of the images; None: at noise."""
        some = slice(first, first + n)
        weight = self.weights[0] if len(self.weights) == 1 else self.weights[some]
        if self.pictures:
            chosen = self.pictures[0] if len(self.pictures) == 1 else self.pictures[some]
            return Start.image(chosen, self.t)
        if self.pair:
            fields = {"images": [base64_of("start_images", image) for image in self.pair]}
            return Start({**fields, "weight": weight, **({} if self.t is None else {"t": self.t})})
        if self.seeds:
            one, other = self.seeds
            return Start.seeds(one, other, weight)
        if self.states is not None:
            one = len(self.states) == 1
            return Start.x_t(self.states[0] if one else self.states[some], self.t)
        return None


def _picture(field: str, path: Path, shape: tuple[int, int, int], *, resize: bool) -> Array:
    try:
        image = model_image(path.read_bytes(), shape, resize=resize, name=path.name)
    except OSError as error:
        raise _refused(field, path, error.strerror or str(error)) from error
    except WrongSize as error:
        raise _refused(field, path, f"{error}; --resize scales it") from error
    except PictureError as error:
        raise _refused(field, path, str(error)) from error
    return np.moveaxis(image, 0, -1)


def _states(path: Path, t: int | None) -> tuple[Array, int | None]:
    try:
        with path.open("rb") as file:
            return read_states(file, t)
    except StateFileError as error:
        raise _refused("start_x_t", path, str(error)) from error
    except OSError as error:
        raise _refused("start_x_t", path, error.strerror or str(error)) from error


def _refused(field: str, path: Path, reason: str) -> FlagError:
    return FlagError(f"{field}: {str(path)!r} is not allowed: {reason}")
