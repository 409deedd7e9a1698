"""The start and the mask that the flags of `ddpm sample` ask for."""

import argparse
import zipfile
from pathlib import Path

import numpy as np
import torch

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
from diffusion.sample_flags import DEFAULT_N

HALFWAY = (0.5,)


def check_flags(args: argparse.Namespace) -> None:
    """Raise StartError for a flag that says how to use what is not given."""
    pictures = args.start_image or args.start_images
    needs = (
        ("t", args.t, pictures or args.start_x_t, "--start-image, --start-images or --start-x-t"),
        ("weights", args.weights, args.start_images or args.seeds, "--start-images or --seeds"),
        ("resize", args.resize or None, pictures, "--start-image or --start-images"),
        ("mask", args.mask and str(args.mask), args.start_image, "--start-image"),
        ("resamplings", args.resamplings, args.mask, "--mask"),
        ("jump", args.jump, args.mask, "--mask"),
    )
    for field, value, needed, flags in needs:
        if value is not None and not needed:
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
    arrays = _arrays(path)
    if "x_t" not in arrays:
        raise refused("start_x_t", path, "there is no array x_t in it")
    x_t, times = arrays["x_t"], arrays.get("t")
    if x_t.dtype.kind != "f" or x_t.ndim not in (3, 4, 5):
        shape = f"{x_t.dtype} of shape {x_t.shape}"
        raise refused("start_x_t", path, f"x_t is {shape}; it must be float32 (n,C,H,W)")
    if x_t.ndim == 5:
        x_t = _frame(path, x_t, times, t)
    elif t is None and times is not None and times.ndim == 0:
        t = int(times)
    whole = torch.from_numpy(x_t.astype(np.float32))
    return FromState(x_t=whole if whole.dim() == 4 else whole[None], t=t)


def _frame(path: Path, x_t: np.ndarray, times: np.ndarray | None, t: int | None) -> np.ndarray:
    """The frame at t of trajectories (n,frames,C,H,W), whose t are `times`."""
    known: list[int] = []
    if times is not None and times.shape == x_t.shape[1:2]:  # one for each frame
        known = times.tolist()
    if t not in known:
        raise refused("start_x_t", path, f"it holds a trajectory; --t must be one of {known}")
    return np.asarray(x_t[:, known.index(t)])


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names; that of an .npy as `x_t`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x_t": loaded}
        with loaded as arrays:
            return {name: arrays[name] for name in arrays.files if name in ("x_t", "t")}
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise refused("start_x_t", path, "it is no .npz or .npy of numbers") from error
    except OSError as error:
        raise refused("start_x_t", path, error.strerror or "it is no .npz or .npy") from error
