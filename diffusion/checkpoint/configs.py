"""The JSON files of a checkpoint, read as what they describe: network, process, and model card."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffusion.checkpoint.classes import check_network, check_scheduler
from diffusion.checkpoint.errors import CheckpointError
from diffusion.config import ProcessConfig, check_channels
from diffusion.fields import ConfigError, from_dict
from diffusion.json_file import read_object
from diffusion.model_card import ModelCard, read_card
from diffusion.networks.config import NetworkConfig
from diffusion.networks.registry import KINDS, UNET
from diffusion.scheduler_json import SAMPLER_FIELDS, read_scheduler

NO_MATTER = {
    "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step",
    "use_ema_warmup", "torch_dtype", "dtype", "gradient_checkpointing",
}  # fmt: skip
"""Fields of a network's config that change nothing: how its weights were averaged, and how others
load it."""
PAPERS = ProcessConfig(1000, "linear", 1e-4, 0.02)
"""What a network without a scheduler is taken to be trained for."""


def read_network(path: Path) -> NetworkConfig:
    """Read a network's config.json. Raises CheckpointError, which names the field."""
    values = read_json(path)
    check_network(path, values)
    kind = KINDS[values.get("_class_name") or UNET.name]
    known = {field.name for field in dataclasses.fields(kind.config)}
    # Names such as "_class_name" are diffusers' own; a field that we do not know may change the
    # network, so it is refused rather than ignored.
    values = {k: v for k, v in values.items() if not k.startswith("_") and k not in NO_MATTER}
    unknown = sorted(k for k in values.keys() - known if values[k] is not None)
    if unknown:
        raise CheckpointError(
            f"{path}: {unknown[0]}: not a field of an unconditional {kind.name} that is known, "
            "so it may change the network",
            "if it changes nothing, take it out",
        )
    try:
        return from_dict(kind.config, {k: values[k] for k in values.keys() & known})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_process(path: Path) -> ProcessConfig:
    """Read a scheduler_config.json. Raises CheckpointError, which names the field."""
    values = read_json(path, unread=SAMPLER_FIELDS)
    check_scheduler(path, values)
    try:
        return read_scheduler(values)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def check_fit(path: Path, unet: NetworkConfig, process: ProcessConfig) -> None:
    """Raise CheckpointError unless the network of the config at `path` fits the process."""
    try:
        check_channels(unet, process)
        unet.check_labels()
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    rows = unet.max_timesteps
    if rows is not None and rows < process.num_timesteps:
        raise CheckpointError(
            f"{path}: num_train_timesteps: {rows} embedding rows, but the scheduler has "
            f"{process.num_timesteps} timesteps"
        )


def read_model_card(path: Path, unet: NetworkConfig, process: ProcessConfig) -> ModelCard:
    """Read a model card; an empty one where there is none. Raises CheckpointError."""
    if not path.exists():
        return ModelCard()
    try:
        return read_card(read_json(path), unet.num_class_embeds, process.num_timesteps)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_json(path: Path, unread: Collection[str] = ()) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError where there is none, or one that `read_object`
    refuses; fields that nobody reads, `unread`, may hold anything."""
    try:
        return read_object(path, unread)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
