"""The JSON files of a checkpoint, read as what they describe: network, process, and model card."""

import dataclasses
from pathlib import Path
from typing import Any

from diffusion.checkpoint.errors import CheckpointError
from diffusion.config import ProcessConfig
from diffusion.fields import ConfigError, from_dict
from diffusion.json_file import read_object
from diffusion.model_card import ModelCard, read_card
from diffusion.networks.config import NetworkConfig
from diffusion.networks.registry import KINDS, UNET
from diffusion.scheduler_json import read_scheduler


def read_network(path: Path) -> NetworkConfig:
    values = _read_json(path)
    name = values.get("_class_name")
    kind = KINDS.get(name, UNET) if isinstance(name, str) else UNET
    known = {field.name for field in dataclasses.fields(kind.config)}
    # Names such as "_class_name" are diffusers' own; a field that we do not know may change the
    # network, so it is refused rather than ignored.
    values = {k: v for k, v in values.items() if not k.startswith("_")}
    unknown = sorted(k for k in values.keys() - known if values[k] is not None)
    if unknown:
        raise CheckpointError(f"{path}: {unknown[0]}: not a field of an unconditional {kind.name}")
    try:
        config = from_dict(kind.config, {k: values[k] for k in values.keys() & known})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config


def read_process(path: Path) -> ProcessConfig:
    try:
        return read_scheduler(_read_json(path))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_model_card(path: Path, unet: NetworkConfig, process: ProcessConfig) -> ModelCard:
    if not path.exists():
        return ModelCard()
    try:
        return read_card(_read_json(path), unet.num_class_embeds, process.num_timesteps)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
