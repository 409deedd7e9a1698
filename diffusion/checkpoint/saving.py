"""Writing a checkpoint, in the layout that `diffusion.checkpoint` describes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from diffusion.atomic import atomic_folder
from diffusion.checkpoint.weights import WEIGHTS
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard, write_card
from diffusion.scheduler_json import scheduler_json
from diffusion.unet import UNet


def save_checkpoint(folder: Path, model: UNet, process: ProcessConfig, card: ModelCard) -> None:
    """Write a checkpoint to `folder`, whole or not at all; one that is there is replaced."""
    with atomic_folder(folder) as partial:
        index = {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }
        _write_json(partial / "model_index.json", index)
        unet = {"_class_name": "UNet2DModel", **dataclasses.asdict(model.config)}
        _write_json(partial / "unet" / "config.json", unet)
        _write_json(partial / "scheduler" / "scheduler_config.json", scheduler_json(process))
        write_card(partial, card)
        state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
        save_file(state, partial / "unet" / WEIGHTS, metadata={"format": "pt"})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")
