"""`ddpm data`: what is read from a data set, as training will see it."""

import argparse
import json
from pathlib import Path

from diffusion.atomic import atomic_file
from diffusion.config import Config, DataConfig
from diffusion.data import datasets
from diffusion.data.images import DataError
from diffusion.data.summary import as_text, contact_sheet, summary
from diffusion.fields import ConfigError, from_dict, to_dict
from diffusion.output import check_file
from diffusion.training.checks import check_data

SHEETS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Pillow's name for the format of a contact sheet, by its file's suffix."""


def run(args: argparse.Namespace) -> None:
    """Print the summary, and write the contact sheet that the flags ask for.

    Raises ConfigError, DataError or TrainingError where the data cannot be trained on, and
    OutputError where the sheet cannot be written.
    """
    if args.grid:
        _check_grid(args.grid)
    config = Config.read(Path(args.data)) if args.data.lower().endswith(".toml") else None
    data = data_config(args, config.data if config else DataConfig(args.data))
    found = datasets.read(data, config.unet.in_channels if config else None)
    if config:
        check_data(config, found.split("train"))
    facts = summary(found)
    print(json.dumps(facts) if args.json else as_text(data.path, facts))
    if args.grid:
        with atomic_file(args.grid.resolve()) as file:
            contact_sheet(found.split("train")).save(file, SHEETS[args.grid.suffix.lower()])


def _check_grid(path: Path) -> None:
    if path.suffix.lower() not in SHEETS:
        raise DataError(f"--grid: {path} is not allowed; the suffix is .png, .jpg or .webp")
    check_file(path, "--grid")


def data_config(args: argparse.Namespace, table: DataConfig) -> DataConfig:
    """Return a table [data] in which the flags have taken the place of what it says.

    Raises ConfigError naming the flag.
    """
    flags = {
        "size": args.size[0] if args.size and len(args.size) == 1 else args.size,
        "crop": args.crop,
        "background": args.background,
        "channels": args.channels,
        "holdout": args.holdout,
        "labels": args.labels,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return from_dict(DataConfig, to_dict(table) | given)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from error
