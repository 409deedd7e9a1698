"""Models on disk, in the folder format of diffusers. Pickles are never loaded: they can run code.

    model_index.json                               which classes diffusers should build
    unet/config.json                               UNetConfig, field for field
    unet/diffusion_pytorch_model.safetensors       the weights (of the EMA)
    scheduler/scheduler_config.json                the process and how it is reversed
    model_card.json                                what the others have no field for; optional

The flat layout of the first DDPM releases, all files in one folder, can be read too.
"""

from diffusion.checkpoint.errors import CheckpointError
from diffusion.checkpoint.opening import Checkpoint, open_checkpoint
from diffusion.checkpoint.saving import save_checkpoint
from diffusion.checkpoint.weight_files import WEIGHTS
from diffusion.checkpoint.weights import NOT_FINITE, WithoutInit, shapes
from diffusion.sources.find import Location, find_checkpoint

__all__ = [
    "NOT_FINITE",
    "WEIGHTS",
    "Checkpoint",
    "CheckpointError",
    "Location",
    "WithoutInit",
    "find_checkpoint",
    "open_checkpoint",
    "save_checkpoint",
    "shapes",
]
