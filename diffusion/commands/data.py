"""`ddpm data`: what is read from a data set, as training will see it."""

import argparse
import json
from pathlib import Path

from diffusion.config import Config, DataConfig
from diffusion.data import datasets
from diffusion.data.images import DataError
from diffusion.data.summary import as_text, contact_sheet, summary
from diffusion.fields import ConfigError


def run(args: argparse.Namespace) -> None:
    """Print the summary, and write the contact sheet that the flags ask for.

    Raises ConfigError or DataError where the data cannot be trained on.
    """
    if args.grid and args.grid.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise DataError(f"--grid: {args.grid} is not allowed; the suffix is .png, .jpg or .webp")
    config, channels = _config(args)
    found = datasets.read(config, channels)
    facts = summary(found)
    print(json.dumps(facts) if args.json else as_text(config.path, facts))
    if args.grid:
        args.grid.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(found.split("train")).save(args.grid)


def _config(args: argparse.Namespace) -> tuple[DataConfig, int | None]:
    """The [data] table of a configuration and its network's channels; or that of the flags."""
    if Path(args.data).suffix == ".toml":
        config = Config.read(Path(args.data))
        return config.data, config.unet.in_channels
    return data_config(args), None


def data_config(args: argparse.Namespace) -> DataConfig:
    """Return the [data] table that the flags stand for. Raises ConfigError naming the flag."""
    try:
        size = None if args.size is None else tuple(args.size)
        if size is not None and len(size) > 2:
            raise ConfigError(f"size: {size} is not allowed; it must be one side, or height width")
        return DataConfig(
            path=args.data,
            size=size if size is None or len(size) == 2 else size[0],
            crop=args.crop,
            background=args.background,
            channels=args.channels,
            holdout=args.holdout,
            labels=args.labels,
        )
    except ConfigError as error:
        raise ConfigError(f"--{error}") from error
