"""Writing a checkpoint, in the layout that `diffusion.checkpoint` describes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from diffusion.atomic import atomic_folder
from diffusion.checkpoint.weight_files import WEIGHTS
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard, write_card
from diffusion.networks.network import Network
from diffusion.networks.registry import kind_of
from diffusion.scheduler_json import scheduler_json


def save_checkpoint(folder: Path, model: Network, process: ProcessConfig, card: ModelCard) -> None:
    """Write a checkpoint to `folder`, whole or not at all; one that is there is replaced."""
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
        state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
        save_file(state, partial / "unet" / WEIGHTS, metadata={"format": "pt"})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")
