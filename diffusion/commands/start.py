"""The start and the mask that the flags of `ddpm sample` ask for."""

import argparse
from pathlib import Path

import torch

from diffusion import state_file
from diffusion.commands.pictures import read_mask, read_pictures, refused
from diffusion.editing import (
    BetweenPictures,
    BetweenSeeds,
    FromPicture,
    FromState,
    Mask,
    Start,
    StartError,
)
from diffusion.sample_flags import DEFAULT_N, unmet_start

HALFWAY = (0.5,)


def check_flags(args: argparse.Namespace) -> None:
    """Raise StartError for a flag that says how to use what is not given."""
    unmet = unmet_start(args)
    if unmet is not None:
        field, value, flags = unmet
        raise StartError(field, value, f"it needs {flags}")


def count(n: int | None, start: Start | None) -> int:
    """How many images are made: n, or else one for each state, or for each picture or weight where
    these are several."""
    if n is not None:
        return n
    match start:
        case FromState(x_t=states):  # from one state most samplers make one image alone
            return len(states)
        case FromPicture(x_0=pictures):
            several = len(pictures)
        case BetweenPictures(weights=weights) | BetweenSeeds(weights=weights):
            several = len(weights)
        case _:
            several = 1
    return several if several > 1 else DEFAULT_N


def start_of(args: argparse.Namespace, image_shape: tuple[int, int, int]) -> Start | None:
    """Read where chains begin; None: at noise. Raises RequestError or StartError."""
    weights = HALFWAY if args.weights is None else tuple(args.weights)
    if args.start_image:
        x_0 = read_pictures(args.start_image, "start_image", image_shape, resize=args.resize)
        return FromPicture(x_0=x_0, t=args.t)
    if args.start_images:
        x_0 = read_pictures(args.start_images, "start_images", image_shape, resize=args.resize)
        return BetweenPictures(x_0=x_0, weights=weights, t=args.t)
    if args.seeds:
        first, second = args.seeds
        return BetweenSeeds(seeds=(first, second), weights=weights, image_shape=image_shape)
    if args.start_x_t:
        return read_states(args.start_x_t, args.t)
    return None


def mask_of(args: argparse.Namespace, image_shape: tuple[int, int, int]) -> Mask | None:
    """Read which part of the picture is kept; None: none. Raises RequestError."""
    if not args.mask:
        return None
    image = read_mask(args.mask, image_shape, resize=args.resize)
    resamplings = 1 if args.resamplings is None else args.resamplings
    return Mask(image, resamplings, 10 if args.jump is None else args.jump)


def read_states(path: Path, t: int | None) -> FromState:
    """Read states from an .npy of x_t, or from an .npz with `x_t` and `t`, as `ddpm encode` and
    trajectories have them: of a trajectory the frame at t. Raises RequestError."""
    try:
        with path.open("rb") as file:
            states = state_file.read_states(file, t)
    except state_file.StateFileError as error:
        raise refused("start_x_t", path, str(error)) from error
    except OSError as error:
        raise refused("start_x_t", path, error.strerror or str(error)) from error
    return FromState(x_t=torch.from_numpy(states.x_t), t=states.t)
