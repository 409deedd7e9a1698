"""What is small enough to test with: a checkpoint of random weights, a network to be trained."""

from pathlib import Path
from typing import Literal

import torch

from diffusion.checkpoint import save_checkpoint
from diffusion.config import Prediction, ProcessConfig, Variance
from diffusion.model_card import ModelCard
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig

UNET_TOML = """
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [8]
layers_per_block = 1
down_block_types = ["AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D"]
norm_num_groups = 4
"""
"""The network in the configuration of a training run."""


def save_tiny(
    folder: Path,
    *,
    num_classes: int | None = None,
    null_label: bool = False,
    channels: int = 1,
    size: int = 8,
    num_timesteps: int = 50,
    learned_time: bool = False,
    fourier_time: bool = False,
    prediction: Prediction = "eps",
    learned_range: bool = False,
    zero_snr: bool = False,
) -> Path:
    """Write a seeded checkpoint; `null_label` adds a row for "no label" after the classes."""
    rows = None if num_classes is None else num_classes + null_label
    embedding: Literal["positional", "learned", "fourier"] = "positional"
    if learned_time or fourier_time:
        embedding = "learned" if learned_time else "fourier"
    config = UNetConfig(
        sample_size=size,
        in_channels=channels,
        out_channels=channels * (1 + learned_range),
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=rows,
        time_embedding_type=embedding,
        num_train_timesteps=num_timesteps if learned_time else None,
    )
    torch.manual_seed(0)
    model = UNet(config)
    card = ModelCard(name="tiny", null_label=num_classes if null_label else None)
    variance: Variance = "learned_range" if learned_range else "fixed_small"
    process = ProcessConfig(
        num_timesteps, variance=variance, prediction=prediction, zero_terminal_snr=zero_snr
    )
    save_checkpoint(folder, model, process, card)
    return folder
