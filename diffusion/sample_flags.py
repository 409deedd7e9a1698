"""The flags of `ddpm sample`, which images and how each comes about, and of encode and bound.

Built without PyTorch, so that `--help` answers at once; `diffusion.cli` has the commands.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from diffusion import flags
from diffusion.spacing import SamplerName, SpacingName

DEFAULT_N = 16
"""Images that are made where nothing says how many."""


class Chain(NamedTuple):
    """How an image comes about, as far as a model's card may recommend it."""

    sampler: SamplerName
    steps: int | None
    spacing: SpacingName | tuple[int, ...]
    guidance: float


def chain_of(args: argparse.Namespace, model: str, recommended: Mapping[str, Any]) -> Chain:
    """What the flags of `add_chain` say; with --recommended, what they leave out is as the model's
    card recommends. What it recommends for one sampler does not hold for another, and guidance
    needs a label. Raises ValueError where --recommended is given, and the card recommends nothing.
    """
    if args.recommended and not recommended:
        raise ValueError(f"recommended: the card of {model} recommends nothing")
    told = dict(recommended) if args.recommended else {}
    sampler = args.sampler or told.get("sampler", "ddpm")
    if sampler != told.get("sampler"):
        told = {"guidance": told.get("guidance", 0.0)}
    spacing = args.spacing or told.get("spacing", "even")
    is_list = isinstance(spacing, tuple)  # which says how many steps there are
    steps = args.steps if args.steps is not None or is_list else told.get("steps")
    guidance = args.guidance
    if guidance is None:
        guidance = told.get("guidance", 0.0) if args.label else 0.0
    return Chain(sampler, steps, spacing, guidance)


def unmet_start(args: argparse.Namespace) -> tuple[str, object, str] | None:
    """The first flag of `add_start` that says how to use what is not given: field, value, and the
    flags that it needs. None: there is none."""
    pictures = args.start_image or args.start_images
    needs = (
        ("t", args.t, pictures or args.start_x_t, "--start-image, --start-images or --start-x-t"),
        ("weights", args.weights, args.start_images or args.seeds, "--start-images or --seeds"),
        ("resize", args.resize or None, pictures, "--start-image or --start-images"),
        ("mask", args.mask and str(args.mask), args.start_image, "--start-image"),
        ("resamplings", args.resamplings, args.mask, "--mask"),
        ("jump", args.jump, args.mask, "--mask"),
    )
    unmet = ((name, value, flags) for name, value, needed, flags in needs
             if value is not None and not needed)  # fmt: skip
    return next(unmet, None)


# One line for a flag and its type, and the next for its help:
# fmt: off


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which images `sample` makes, and where they go."""
    add = parser.add_argument_group("the images").add_argument
    add("--out", type=flags.path, default=Path("samples.png"), metavar="PATH",
        help="where the images go: a grid in one .png, an array in an .npz, or a folder of PNGs "
        "(default: %(default)s)")
    add("--force", action="store_true",
        help="replace the images that are there already (default: refuse to)")
    add("--n", type=int, metavar="COUNT",
        help=f"images to make (default: {DEFAULT_N}; with --start-x-t one for each state; with "
        "several pictures or weights one for each)")
    add("--label", type=int, nargs="+", metavar="LABEL",
        help="one label for all images, or one for each (default: no label)")
    add("--seed", type=int, default=0,
        help="seed, 0 .. 2^53-1; image i of a seed is always the same (default: %(default)s)")
    add("--first-index", type=int, default=0, metavar="INDEX",
        help="the first image's index i among those of the seed (default: %(default)s)")


def add_chain(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how `sample` goes from noise to an image."""
    add = parser.add_argument_group("the chain").add_argument
    add("--recommended", action="store_true",
        help="sampler, steps, spacing and guidance as the model's card recommends, where no other "
        "flag says them; guidance with --label only (default: as below)")
    add("--sampler", choices=get_args(SamplerName),
        help="ddpm is Algorithm 2; the others need fewer steps (default: ddpm)")
    add("--steps", type=int, metavar="COUNT",
        help="steps of the chain (default: all for ddpm, 50 for ddim, 20 for the others)")
    add("--spacing", type=flags.spacing, metavar="NAME|T,…",
        help="which timesteps are kept: even, quadratic, log_snr, karras, tuned (as the model's "
        "card has them), or instead of --steps a list that falls from T, as 1000,500,100 "
        "(default: even)")
    add("--eta", type=float, default=0.0,
        help="how much noise ddim adds: 0 for none, 1 for as much as ddpm (default: %(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"),
        help="ddpm's sigma^2: beta~_t (small) or beta_t (large) (default: the checkpoint's for the "
        "full chain, else fixed_small)")
    add("--guidance", type=float, metavar="W",
        help="strength w of classifier-free guidance towards the label, 0 for none "
        "(default: 0)")
    add("--guidance-interval", type=int, nargs=2, metavar=("HIGH", "LOW"),
        help="guide only while t, counted from T down, is HIGH..LOW: elsewhere a step costs half "
        "(default: all the way)")


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the chains of `sample` begin."""
    group = parser.add_argument_group("the start", "Where chains begin, in place of noise.")
    add = group.add_mutually_exclusive_group().add_argument
    add("--start-image", type=flags.path, nargs="+", metavar="PICTURE",
        help="one picture for all images, or one for each, noised to --t (default: none)")
    add("--start-images", type=flags.path, nargs=2, metavar="PICTURE",
        help="between two pictures that are noised to --t alike, by --weights (default: none)")
    add("--seeds", type=int, nargs=2, metavar="SEED",
        help="between the noise of two seeds, by --weights; with a sampler that adds no noise "
        "(default: none)")
    add("--start-x-t", type=flags.path, metavar="FILE",
        help="states in an .npz or .npy, as of ddpm encode (default: none)")
    add = group.add_argument
    add("--t", type=int,
        help="t at which chains begin, 1..T; the higher, the less is left of a picture (default: T "
        "with --mask, the file's with --start-x-t)")
    add("--weights", type=float, nargs="+", metavar="W",
        help="share 0..1 of the second: one for all images, or one for each, which then have the "
        "same noise (default: 0.5)")
    _add_resize(add)
    group = parser.add_argument_group("the mask", "Keep a part of --start-image (RePaint).")
    add = group.add_argument
    add("--mask", type=flags.path, metavar="PICTURE",
        help="white is made anew, black is kept, grey is mixed; with ddpm and ddim (default: none)")
    add("--resamplings", type=int, metavar="R",
        help="how often each part of the chain is made, 1..20: the more, the better the new part "
        "fits (default: 1)")
    add("--jump", type=int, metavar="J",
        help="how many steps the chain goes back up for that (default: 10)")


def add_encode(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ddpm encode`."""
    _add_pictures(parser, "pictures to encode")
    add = parser.add_argument_group("the output").add_argument
    add("--out", type=flags.path, default=Path("x_t.npz"), metavar="FILE",
        help="an .npz for x_t (default: %(default)s)")
    add("--force", action="store_true",
        help="replace a file that exists (default: refuse to)")
    add = parser.add_argument_group("the chain").add_argument
    add("--steps", type=int, default=50, metavar="COUNT",
        help="steps from the picture to T, as DDIM's on the way back (default: %(default)s)")
    add("--t", type=int,
        help="go no further than this t (default: T)")


def add_bound(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ddpm bound`."""
    _add_pictures(parser, "pictures to measure")
    add = parser.add_argument_group("the terms").add_argument
    add("--terms", type=int, metavar="COUNT",
        help="terms that are computed: the decoder's, and one from each of COUNT - 1 equal parts "
        "of the chain (default: 40, or all T where that is less)")
    add("--timesteps", type=int, nargs="+", metavar="T",
        help="compute the terms at these t, 1..T, in place of --terms (default: none)")
    add("--seed", type=int, default=0,
        help="seed of the noise and of which terms; the same gives the same numbers (default: "
        "%(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"),
        help="sigma^2 of the reverse process: beta~_t (small) or beta_t (large) (default: the "
        "checkpoint's)")
    add = parser.add_argument_group("the output").add_argument
    add("--json", action="store_true",
        help="print JSON (default: text)")
    add("--plot", type=flags.path, metavar="FILE",
        help="draw the terms, and what the network makes of each x_t, in this .png or .svg "
        "(default: don't)")
    add("--force", action="store_true",
        help="replace a plot that exists (default: refuse to)")


def _add_pictures(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the pictures that a command takes, and how they are read."""
    add = parser.add_argument_group("the pictures").add_argument
    add("pictures", type=flags.path, nargs="+", metavar="PICTURE", help=meaning)
    add("--label", type=int, nargs="+", metavar="LABEL",
        help="one label for all pictures, or one for each (default: no label)")
    _add_resize(add)


def _add_resize(add: Any) -> None:
    add("--resize", action="store_true",
        help="scale pictures to the model's size, and cut them in the middle (default: refuse "
        "others)")


# fmt: on
