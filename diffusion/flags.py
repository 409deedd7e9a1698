"""The flags of the commands that read data: data, init, train and evaluate.

Built without PyTorch, so that `--help` answers at once; `diffusion.cli` has the commands.
"""

import argparse
import os
from pathlib import Path
from typing import cast, get_args

from diffusion.config import Crop, FeaturesName, LabelMix
from diffusion.folders import check_cache
from diffusion.spacing import SpacingName

BESIDE = "Beside a configuration they take the place of what its table [data] says."

# One line for a flag and its type, and the next for its help:
# fmt: off


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ddpm data`."""
    parser.add_argument("data", metavar="DATA",
        help="data set by name, path to images, or a configuration (.toml) with a [data] table")
    add = parser.add_argument_group("the output").add_argument
    add("--json", action="store_true", help="print JSON (default: text for people)")
    add("--grid", type=path, metavar="FILE",
        help="write a contact sheet, a row for each class, to this .png, .jpg or .webp "
        "(default: none)")
    _add_reading(parser, BESIDE)


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ddpm init`."""
    parser.add_argument("data", metavar="DATA", help="data set by name, or path to images")
    add = parser.add_argument_group("the output").add_argument
    add("--out", type=path, metavar="FILE",
        help="configuration to write (default: the data's name with .toml)")
    add("--force", action="store_true", help="replace a file that exists (default: refuse to)")
    _add_reading(parser)
    add_device(parser.add_argument_group("what will run the network"))


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `ddpm train`."""
    parser.add_argument("config", type=path,
        help="configuration, a TOML file; see configs/ for examples")

    add = parser.add_argument_group("the run").add_argument
    add("--out", type=path, metavar="FOLDER",
        help="folder of the run; if it holds a run already, that one is continued (default: none, "
        "which only --dry-run takes)")
    add("--name", help="name of the model (default: the configuration's file name)")
    add("--start", metavar="CHECKPOINT",
        help="checkpoint to take the first weights from (default: random weights)")
    add("--num-steps", type=int, metavar="COUNT",
        help="steps of the run, to make it longer or shorter than it was, also when it is finished "
        "(default: as many as it has; of a new run, the configuration's)")
    add("--until", type=int, metavar="STEP",
        help="stop after this step and continue another time (default: train to the end)")
    add("--no-samples", action="store_true",
        help="draw no samples on the way (default: as often as sample_every says)")
    add("--dry-run", action="store_true",
        help="say what the run would do, time a step and write nothing (default: train)")

    add = parser.add_argument_group("the data").add_argument
    add("--data", metavar="NAME|PATH",
        help="data set by name, or path to images (default: the configuration's)")
    add("--strict", action="store_true",
        help="stop at an image that cannot be read (default: leave it out and say so)")

    add_device(parser.add_argument_group("what runs the network"))


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where an evaluation is written, and what it compares with."""
    add = parser.add_argument_group("the report").add_argument
    add("--out", type=path, required=True, metavar="FOLDER",
        help="folder of the report; if it holds an unfinished one, that one is continued")
    add("--data", metavar="NAME|PATH",
        help="data set by name, or path to images (default: what the model was trained on)")
    add("--seed", type=int, default=0,
        help="seed of everything drawn (default: %(default)s)")


def add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how much of the bound and of the samples is measured, and by what."""
    add = parser.add_argument_group("the bound").add_argument
    add("--images", type=int, default=100, metavar="COUNT",
        help="images of each split, chosen at random, for the bound (default: %(default)s)")
    add("--terms", type=int, metavar="COUNT",
        help="terms of the bound computed for each image, drawn at random: with fewer, more images "
        "fit in the same time (default: all T)")
    add("--train-images", type=int, metavar="COUNT",
        help="images of the training split, for the bound (default: as --images)")
    add("--full", type=int, default=0, metavar="COUNT",
        help="test images that are measured with all terms, beside --terms, to show that both give "
        "the same bound (default: %(default)s)")

    add = parser.add_argument_group("the precisions").add_argument
    add("--precisions", action="store_true",
        help="measure in float32, and also what bfloat16 loses: the bound of the same images, and "
        "the first sampler's samples of the same seed, beside float32 with the next seed "
        "(default: don't)")

    add = parser.add_argument_group("the samples").add_argument
    add("--samples", type=int, default=500, metavar="COUNT",
        help="images to make with each sampler, 10 or more (default: %(default)s)")
    add("--labels", default="balanced", choices=get_args(LabelMix),
        help="labels of samples, and of the real images beside them: as many of each, or as often "
        "as the data have them (default: %(default)s)")
    add("--sampler", nargs="+", default=["ddpm", "ddim", "dpmpp"], metavar="SAMPLER",
        help="samplers to compare, each NAME[:STEPS][/SPACING][@GUIDANCE], as unipc:8/karras@1.5 "
        "(default: ddpm ddim dpmpp)")
    add("--features", default="auto", choices=get_args(FeaturesName),
        help="features that distances are measured in; auto is inception where its weights are "
        "stored, else classifier, and random, an untrained network, for data without labels; "
        "efficientnet is for colour, and `ddpm features` gets it (default: %(default)s)")
    add("--classifier", type=path, metavar="FOLDER",
        help="classifier to recognise labels with (default: the built-in one for the data, or one "
        "that is trained first)")


def _add_reading(parser: argparse.ArgumentParser, note: str | None = None) -> None:
    """Add the flags that say how images are read, as the table [data] of a configuration does."""
    add = parser.add_argument_group("how images are read", note).add_argument
    add("--size", type=int, nargs="+", metavar="PIXELS",
        help="side, or height and width, that all images get (default: as they are)")
    add("--crop", choices=get_args(Crop),
        help="how an image of another shape gets there: center and random cut the longer side, pad "
        "fills up the shorter one, none distorts (default: center)")
    add("--background", metavar="COLOUR",
        help="colour behind transparent pixels, and of padding (default: white)")
    add("--channels", type=int, choices=(1, 3),
        help="1 for grey, 3 for RGB (default: 1 if all images are grey, else 3)")
    add("--holdout", type=_number, metavar="SHARE|COUNT",
        help="training images to set aside as the test split (default: none)")
    add("--labels", metavar="auto|none|NAME",
        help="auto finds the labels; NAME is a table's column or an .npz's array (default: auto)")


def path(text: str) -> Path:
    """A file or folder. Raises ArgumentTypeError for no text, which `Path` takes for this folder:
    an unset variable of a script."""
    if not text:
        raise argparse.ArgumentTypeError("'' is not allowed; it must be a path, as '.'")
    return Path(text)


def _number(text: str) -> int | float:
    """A whole number, or else a share."""
    return int(text) if text.isdecimal() else float(text)


def add_device(group: argparse._ArgumentGroup) -> None:
    """Add the flag that says what runs the network."""
    group.add_argument("--device", default="auto", metavar="NAME",
        help="auto, cpu, cuda or cuda:1 (default: auto, a GPU where there is one)")


def add_cache(group: argparse._ArgumentGroup) -> None:
    """Add the flag that says where compiled networks are kept."""
    group.add_argument("--cache", type=cache, default=os.environ.get("DDPM_CACHE"),
        metavar="FOLDER",
        help="folder for compiled networks, with which the next start is faster; '': nothing is "
        "kept (default: DDPM_CACHE, or else ddpm in the user's cache folder)")


# fmt: on


def cache(text: str) -> str:
    """A folder for what can be made again; empty: nothing is kept."""
    try:
        return check_cache(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def spacing(text: str) -> SpacingName | tuple[int, ...]:
    """Read which timesteps are kept: a name, or a list of t such as 1000,500,100."""
    for name in get_args(SpacingName):
        if text == name:
            return cast(SpacingName, name)
    try:
        return tuple(int(t) for t in text.split(","))
    except ValueError:
        names = ", ".join(get_args(SpacingName))
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {names}, nor a list of timesteps such as 1000,500,100"
        ) from None
