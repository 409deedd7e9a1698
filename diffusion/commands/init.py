"""`ddpm init`: a commented configuration to start from, fitted to the data and the machine."""

import argparse
import json
import shlex
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusion.atomic import atomic_file
from diffusion.commands.data import data_config
from diffusion.config import Config, DataConfig
from diffusion.data import datasets
from diffusion.data.built_in import BUILT_IN
from diffusion.data.images import DataSet, HoldoutError, Images
from diffusion.devices import describe_machine, pick_device
from diffusion.fields import ConfigError, require
from diffusion.output import check_file
from diffusion.presets import PRESETS
from diffusion.toml_text import toml_comment, toml_string
from diffusion.training.checks import check_data

LEAST_FOR_HOLDOUT = 200
"""Training images from which on some are set aside where there is no test split."""
HOLDOUT = 0.1
LEAST_STEPS, MOST_LOOKS = 2000, 1000
"""Steps that any network needs, and how often it sees each image at most beyond these."""


@dataclass(frozen=True)
class Effort:
    """What a machine can train in hours rather than days."""

    preset: str
    side: int  # of images that are scaled
    largest_side: int  # of images that are not
    num_steps: int
    precision: str


ON_CPU = Effort("small", side=32, largest_side=64, num_steps=10_000, precision="float32")
ON_GPU = Effort("medium", side=64, largest_side=128, num_steps=100_000, precision="bfloat16")


def run(args: argparse.Namespace) -> None:
    """Read the data, and write the configuration, if training takes it.

    Raises ConfigError, DataError, DeviceError, OutputError or TrainingError; nothing is written
    over unless asked for.
    """
    device = pick_device(args.device)
    effort = ON_GPU if device.type == "cuda" else ON_CPU
    asked = data_config(args, DataConfig(args.data))
    _check(asked, effort)
    out = args.out or Path(f"{Path(args.data).resolve().stem or 'data'}.toml")
    if out.exists() and not args.force:
        raise ConfigError(f"--out: {out} exists; --force replaces it")
    check_file(out, "--out")
    data, found = fit(asked, effort)
    text = starter(data, found, effort, describe_machine(device), out)
    check_data(Config.parse(text), found.split("train"))
    with atomic_file(out.resolve()) as file:  # a link stays a link
        file.write(text.encode())
    shown, run_folder = (shlex.quote(toml_comment(str(p))) for p in (out, Path("runs") / out.stem))
    print(
        f"written: {shown}\nnext:\n"
        f"  ddpm data {shown} --grid sheet.png   # what training will see\n"
        f"  ddpm train {shown} --out {run_folder} --dry-run   # how long a step takes\n"
        f"  ddpm train {shown} --out {run_folder}"
    )


def _check(asked: DataConfig, effort: Effort) -> None:
    """Raise ConfigError for what no configuration can hold, or no network can have."""
    for name in ("path", "background", "labels"):
        value = getattr(asked, name)
        try:
            toml_string(value)
        except UnicodeEncodeError:
            flag = "DATA" if name == "path" else f"--{name}"
            raise ConfigError(
                f"{flag}: {value!r} is not allowed; a configuration is UTF-8, and can hold no "
                "other text: rename it, or make a link to it"
            ) from None
    factor = _factor(effort)
    fits = all(side % factor == 0 for side in asked.size_hw or ())
    halved = f"which the network halves {factor.bit_length() - 1} times"
    require(fits, "--size", asked.size, f"a multiple of {factor}, {halved}")


def fit(asked: DataConfig, effort: Effort) -> tuple[DataConfig, DataSet]:
    """Choose what the data's options leave open: a size that the network can halve, a test split.

    The size is chosen by the images' headers, before any is decoded. Raises DataError where the
    data cannot be read.
    """
    there = datasets.survey(asked)
    chosen = asked if asked.size is not None else replace(asked, size=_size(there.sizes, effort))
    few = there.images["train"] < LEAST_FOR_HOLDOUT
    if asked.holdout or there.images["test"] or few:
        return chosen, datasets.read(chosen)
    held_out = replace(chosen, holdout=HOLDOUT)
    try:
        return held_out, datasets.read(held_out)
    except HoldoutError:  # as where each class has one image
        return chosen, datasets.read(chosen)


def _size(found: Mapping[tuple[int, int], int], effort: Effort) -> int | None:
    """Choose the side that all images get; None where they are as the network can have them."""
    factor = _factor(effort)
    if len(found) == 1 and all(
        side % factor == 0 and side <= effort.largest_side for side in next(iter(found))
    ):
        return None
    shorter = statistics.median_low([min(size) for size, n in found.items() for _ in range(n)])
    return min(effort.side, max(1, round(shorter / factor)) * factor)


def _factor(effort: Effort) -> int:
    """How often the network's levels divide the sides of an image: 2 for each level but one."""
    return int(2 ** (len(PRESETS[effort.preset]["block_out_channels"]) - 1))


def starter(data: DataConfig, found: DataSet, effort: Effort, machine: str, out: Path) -> str:
    """Write the configuration as commented TOML."""
    train = found.splits["train"]
    _, C, H, W = train.pixels.shape
    classes = _num_classes(train)
    labels = f"{classes} classes" if classes else "no labels"
    images = f"{len(train)} training images of {W} x {H} pixels, {labels}"
    file, run_folder = shlex.quote(str(out)), shlex.quote(str(Path("runs") / out.stem))
    run = toml_comment(f"ddpm train {file} --out {run_folder}")
    return f"""\
# Where to start with {toml_comment(data.path)}: {images}.
# Written by `ddpm init` for this machine: {machine}.
#
#   {run} --dry-run     says how long a step takes
#   {run}

[data]
path = {toml_string(data.path)}
{_data_lines(data, found)}
[process]
num_timesteps = 1000
schedule = "cosine"
prediction = "v" # what the network predicts; "eps" is the paper's

# The network: the preset "{effort.preset}", written out so that it can be changed.
[unet]
sample_size = {H if H == W else [H, W]}
in_channels = {C}
out_channels = {C}
{_unet_lines(PRESETS[effort.preset])}
{_classes_line(train)}
{_training_lines(data, train, effort)}
"""


def _training_lines(data: DataConfig, train: Images, effort: Effort) -> str:
    """The table `training`."""
    batch = min(64, len(train))
    steps = min(effort.num_steps, max(LEAST_STEPS, MOST_LOOKS * len(train) // batch))
    looks = steps * batch // len(train)
    dropout = 0.1 if _num_classes(train) else 0.0
    return f"""\
[training]
num_steps = {steps} # each image is seen about {looks} times
batch_size = {batch}
learning_rate = {"1e-3" if effort is ON_CPU else "2e-4"}
warmup_steps = {min(500, steps // 10)}
decay = "cosine"
ema_decay = {0.999 if effort is ON_CPU else 0.9999}
label_dropout = {dropout} # images without their label, which guidance needs
horizontal_flip = {_flips(data, train)} # mirrors half: of all images, or classes; never letters
#shift = 2 # pixels by which images are moved at most, at random: for small data sets
precision = "{effort.precision}"
log_every = 50
sample_every = {steps // 20}
save_every = {min(1000, steps // 20)}"""


def _num_classes(train: Images) -> int:
    return len(train.classes) if train.labels is not None else 0


def _flips(data: DataConfig, train: Images) -> str:
    """Which images to mirror, as TOML: where that is not known, those in colour.

    Grey ones are letters and digits more often.
    """
    if data.path not in BUILT_IN:
        return "false" if train.pixels.shape[1] == 1 else "true"
    mirrored = BUILT_IN[data.path].mirrored
    if mirrored in ((), train.classes):
        return "true" if mirrored else "false"
    return json.dumps(mirrored) if train.labels is not None else "false"


def _data_lines(data: DataConfig, found: DataSet) -> str:
    """The options that were set or chosen, and as comments those that one may want."""
    lines = []
    if data.size_hw is not None:
        H, W = data.size_hw
        many = f"the images have {len(found.sizes)} sizes; " if len(found.sizes) > 1 else ""
        lines.append(f"size = {H if H == W else [H, W]} # {many}each image is scaled to this")
    default = DataConfig()
    lines.append(
        f'{"" if data.size_hw is not None else "#"}crop = "{data.crop}" '
        "# cuts what is too long; or random, pad, none"
    )
    for name in ("background", "channels", "labels"):
        value = getattr(data, name)
        if value != getattr(default, name):
            lines.append(f"{name} = {toml_string(value) if isinstance(value, str) else value}")
    if "test" in found.splits and not data.holdout:
        lines.append("# the data have a test split of their own")
    else:
        kept = f"holdout = {data.holdout or HOLDOUT}"
        hidden = "" if data.holdout else "#"
        lines.append(f"{hidden}{kept} # training images set aside to evaluate with")
    return "\n".join(lines) + "\n"


def _unet_lines(preset: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in preset.items())


def _classes_line(train: Images) -> str:
    if train.labels is None:
        return ""
    classes, used = len(train.classes), len(train.labels.unique())
    what = "the classes," if used == classes else f"labels 0..{classes - 1}, of which {used} occur,"
    return f'num_class_embeds = {classes + 1} # {what} and one more: "no label"\n'
