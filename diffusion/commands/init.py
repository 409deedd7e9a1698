"""`ddpm init`: a commented configuration to start from, fitted to the data and the machine."""

import argparse
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusion.commands.data import data_config
from diffusion.config import DataConfig
from diffusion.data import datasets
from diffusion.data.images import DataSet, SizesError
from diffusion.devices import describe_machine, pick_device
from diffusion.fields import ConfigError
from diffusion.presets import PRESETS

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
    """Read the data, and write the configuration.

    Raises ConfigError, DataError or DeviceError; nothing is written over unless asked for.
    """
    device = pick_device(args.device)
    asked = data_config(args)
    out = args.out or Path(f"{Path(args.data).stem or 'data'}.toml")
    if out.exists() and not args.force:
        raise ConfigError(f"--out: {out} exists; --force replaces it")
    effort = ON_GPU if device.type == "cuda" else ON_CPU
    data, found = fit(asked, effort)
    text = starter(data, found, effort, describe_machine(device), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    run_folder = Path("runs") / out.stem
    print(
        f"written: {out}\nnext:\n"
        f"  ddpm data {out} --grid sheet.png   # what training will see\n"
        f"  ddpm train {out} --out {run_folder} --dry-run   # how long a step takes\n"
        f"  ddpm train {out} --out {run_folder}"
    )


def fit(asked: DataConfig, effort: Effort) -> tuple[DataConfig, DataSet]:
    """Choose what the data's options leave open: a size that the network can halve, a test split.

    Raises DataError where the data cannot be read.
    """
    factor = _factor(effort)
    try:
        found = datasets.read(asked)
        H, W = found.splits["train"].pixels.shape[2:]
        sizes = {(H, W): 1}
    except SizesError as error:
        sizes = error.sizes
    fits = len(sizes) == 1 and all(
        side % factor == 0 and side <= effort.largest_side for side in next(iter(sizes))
    )
    chosen = asked
    if not fits and asked.size is None:
        shorter = statistics.median_low([min(size) for size, n in sizes.items() for _ in range(n)])
        side = min(effort.side, max(1, round(shorter / factor)) * factor)
        chosen = replace(asked, size=side)
    if chosen != asked:
        found = datasets.read(chosen)
    if "test" not in found.splits and len(found.splits["train"]) >= LEAST_FOR_HOLDOUT:
        chosen = replace(chosen, holdout=chosen.holdout or HOLDOUT)
        found = datasets.read(chosen)
    return chosen, found


def _factor(effort: Effort) -> int:
    """How often the network's levels divide the sides of an image: 2 for each level but one."""
    return int(2 ** (len(PRESETS[effort.preset]["block_out_channels"]) - 1))


def starter(data: DataConfig, found: DataSet, effort: Effort, machine: str, out: Path) -> str:
    """Write the configuration as commented TOML."""
    train = found.splits["train"]
    _, C, H, W = train.pixels.shape
    classes = len(train.classes) if train.labels is not None else 0
    batch = min(64, len(train))
    steps = min(effort.num_steps, max(LEAST_STEPS, MOST_LOOKS * len(train) // batch))
    looks = steps * batch // len(train)
    labels = f"{classes} classes" if classes else "no labels"
    return f"""\
# Where to start with {data.path}: {len(train)} training images of {W} x {H} pixels, {labels}.
# Written by `ddpm init` for this machine: {machine}.
#
#   ddpm train {out} --out runs/{out.stem} --dry-run     says how long a step takes
#   ddpm train {out} --out runs/{out.stem}

[data]
path = {json.dumps(data.path)}
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
{_classes_line(classes)}
[training]
num_steps = {steps} # each image is seen about {looks} times
batch_size = {batch}
learning_rate = {"1e-3" if effort is ON_CPU else "2e-4"}
warmup_steps = {min(500, steps // 10)}
decay = "cosine"
ema_decay = {0.999 if effort is ON_CPU else 0.9999}
label_dropout = {0.1 if classes else 0.0} # images without their label, which guidance needs
horizontal_flip = {"false" if C == 1 else "true"} # mirrors half of the images: never letters
precision = "{effort.precision}"
log_every = 50
sample_every = {steps // 20}
save_every = {min(1000, steps // 20)}
"""


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
            lines.append(f"{name} = {json.dumps(value)}")
    if "test" in found.splits and not data.holdout:
        lines.append("# the data have a test split of their own")
    else:
        kept = f"holdout = {data.holdout or HOLDOUT}"
        hidden = "" if data.holdout else "#"
        lines.append(f"{hidden}{kept} # training images set aside to evaluate with")
    return "\n".join(lines) + "\n"


def _unet_lines(preset: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in preset.items())


def _classes_line(classes: int) -> str:
    if not classes:
        return ""
    return f'num_class_embeds = {classes + 1} # the classes, and one more: "no label"\n'
