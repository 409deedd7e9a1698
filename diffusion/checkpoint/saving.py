"""Writing a checkpoint, in the layout that `diffusion.checkpoint` describes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion.atomic import atomic_folder
from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.weight_files import WEIGHTS
from diffusion.config import ProcessConfig, WeightsType
from diffusion.model_card import ModelCard, write_card
from diffusion.networks.network import Network
from diffusion.networks.registry import kind_of
from diffusion.scheduler_json import scheduler_json

TORCH_TYPES: dict[WeightsType, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def save_checkpoint(
    folder: Path,
    model: Network,
    process: ProcessConfig,
    card: ModelCard,
    weights_type: WeightsType = "float32",
) -> None:
    """Write a checkpoint to `folder`, whole or not at all; one that is there is replaced.

    Weights are rounded to `weights_type`. Raises CheckpointError, before anything is written, for a
    weight that is too large for it.
    """
    state = {name: _stored(name, t, weights_type) for name, t in model.state_dict().items()}
    with atomic_folder(folder) as partial:
        kind = kind_of(model.config)
        index = {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers" if kind.is_diffusers else "diffusion", kind.name],
        }
        _write_json(partial / "model_index.json", index)
        unet = {"_class_name": kind.name, **dataclasses.asdict(model.config)}
        _write_json(partial / "unet" / "config.json", unet)
        _write_json(partial / "scheduler" / "scheduler_config.json", scheduler_json(process))
        write_card(partial, card)
        save_file(state, partial / "unet" / WEIGHTS, metadata={"format": "pt"})


def _stored(name: str, tensor: Tensor, weights_type: WeightsType) -> Tensor:
    """A weight as it goes into the file."""
    stored = tensor.to("cpu", TORCH_TYPES[weights_type]).contiguous()
    if bool((stored.isinf() & tensor.cpu().isfinite()).any()):
        raise CheckpointError(
            f"weights_dtype: {weights_type!r} is not allowed: a number of {name} is above "
            f"{torch.finfo(stored.dtype).max:.6g}, the largest that it has; bfloat16 reaches as "
            "far as float32"
        )
    return stored


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")
