"""The flags of `ddpm import`, for each project. Built without PyTorch, so that `--help` answers at
once."""

import argparse
from typing import Any

from diffusion.flags import path

# One line for a flag and its type, and the next for its help:
# fmt: off


def add_projects(projects: Any) -> None:
    """Add a command for each project to argparse's sub-parsers `projects`."""
    add_pesser(_project(
        projects, "pytorch-diffusion",
        "The paper's models as pesser/pytorch_diffusion released them: CIFAR-10, LSUN, CelebA-HQ.",
        "ema_diffusion_cifar10_model-790000.ckpt --out models/cifar10-paper",
    ))


def _project(projects: Any, name: str, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = projects.add_parser(
        name,
        help=description.splitlines()[0],
        description=description,
        epilog=f"example:\n  ddpm import {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=path,
        help="file of torch.save, with a state dict, or a .safetensors file")
    add = parser.add_argument_group("the output").add_argument
    add("--out", type=path, required=True, metavar="FOLDER", help="folder to write")
    add("--force", action="store_true",
        help="replace a checkpoint that is there already (default: refuse to)")
    add("--name", help="name of the model on its card (default: the folder's)")
    add("--data", help="what the model was trained on, for its card (default: nothing is said)")
    return parser


def add_pesser(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what a file of pesser/pytorch_diffusion does not tell."""
    add = parser.add_argument_group("what the file does not tell").add_argument
    add("--image-size", type=int, metavar="PIXELS",
        help="side of the images (default: such that the lowest attention has 16 x 16 positions, "
        "as in all of the paper's models)")
    add("--timesteps", type=int, default=1000, metavar="COUNT",
        help="steps T of the chain (default: %(default)s)")
    add("--schedule", choices=("linear", "quad"), default="linear",
        help="how the betas rise: themselves, or their square roots, along a line "
        "(default: %(default)s)")
    add("--beta-start", type=float, default=1e-4, metavar="BETA",
        help="the first beta (default: %(default)s)")
    add("--beta-end", type=float, default=0.02, metavar="BETA",
        help="the last beta (default: %(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"),
        help="sigma^2 of Algorithm 2 (default: the paper's, fixed_large for images of 32 pixels, "
        "as CIFAR-10's, and fixed_small for larger ones)")
