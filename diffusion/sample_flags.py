"""The flags of `ddpm sample`: which images, and how each comes from noise.

Built without PyTorch, so that `--help` answers at once; `diffusion.cli` has the commands.
"""

import argparse
from pathlib import Path
from typing import get_args

from diffusion import flags
from diffusion.spacing import SamplerName

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
    add("--n", type=int, default=16, metavar="COUNT",
        help="images to make (default: %(default)s)")
    add("--label", type=int, nargs="+", metavar="LABEL",
        help="one label for all images, or one for each (default: no label)")
    add("--seed", type=int, default=0,
        help="seed, 0 .. 2^53-1; image i of a seed is always the same (default: %(default)s)")
    add("--first-index", type=int, default=0, metavar="INDEX",
        help="the first image's index i among those of the seed (default: %(default)s)")


def add_chain(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how `sample` goes from noise to an image."""
    add = parser.add_argument_group("the chain").add_argument
    add("--sampler", choices=get_args(SamplerName), default="ddpm",
        help="ddpm is Algorithm 2; the others need fewer steps (default: %(default)s)")
    add("--steps", type=int, metavar="COUNT",
        help="steps of the chain (default: all for ddpm, 50 for ddim, 20 for the others)")
    add("--spacing", type=flags.spacing, default="even", metavar="NAME|T,…",
        help="which timesteps are kept: even, quadratic, log_snr, karras, tuned (as the model's "
        "card has them), or instead of --steps a list that falls from T, as 1000,500,100 "
        "(default: %(default)s)")
    add("--eta", type=float, default=0.0,
        help="how much noise ddim adds: 0 for none, 1 for as much as ddpm (default: %(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"),
        help="ddpm's sigma^2: beta~_t (small) or beta_t (large) (default: the checkpoint's for the "
        "full chain, else fixed_small)")
    add("--guidance", type=float, default=0.0, metavar="W",
        help="strength w of classifier-free guidance towards the label, 0 for none "
        "(default: %(default)s)")
    add("--guidance-interval", type=int, nargs=2, metavar=("HIGH", "LOW"),
        help="guide only while t, counted from T down, is HIGH..LOW: elsewhere a step costs half "
        "(default: all the way)")


# fmt: on
