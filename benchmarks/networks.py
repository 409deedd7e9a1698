"""The networks that benchmarks run, as checkpoints in the format of diffusers.

Class labels and learned variances are left out, since peers' samplers know none: the included
models come without the layers for these. Weights do not change the time a network takes; those of
others are random.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffusion.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from diffusion.config import ProcessConfig
from diffusion.fields import from_dict
from diffusion.model_card import ModelCard
from diffusion.parameterization import EpsModel
from diffusion.presets import PRESETS
from diffusion.unet import UNet, initialise
from diffusion.unet_config import UNetConfig


@dataclass(frozen=True)
class Network:
    """A network that is measured."""

    name: str
    checkpoint: Checkpoint

    @property
    def folder(self) -> str:
        """Where its checkpoint is."""
        return str(self.checkpoint.folder)

    def model(self) -> EpsModel:
        """Load it, in float32 on the CPU."""
        return self.checkpoint.eps_model()

    @cached_property
    def parameters(self) -> int:
        """How many numbers it learned."""
        return sum(p.numel() for p in self.model().parameters())

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of one image-step: those of convolutions, linear layers and
        attention, a multiplication and an addition each."""
        return flops(self.model())


def flops(model: EpsModel) -> int:
    """Floating-point operations of one row's call, as PyTorch's counter has them."""
    x_t = torch.zeros(1, *model.config.image_shape)
    label = None
    if model.config.num_class_embeds is not None:
        label = torch.zeros(1, dtype=torch.int64)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(x_t, torch.zeros(1, dtype=torch.int64), label)
    return counter.get_total_flops()


def included(name: str, folder: Path) -> Network:
    """Write an included model without labels and learned variance to a new folder."""
    checkpoint = open_checkpoint(name)
    channels = checkpoint.unet.in_channels
    assert isinstance(checkpoint.unet, UNetConfig)
    config = replace(checkpoint.unet, num_class_embeds=None, out_channels=channels)
    weights = checkpoint.load().state_dict()
    weights.pop("class_embedding.weight", None)
    for last in ("conv_out.weight", "conv_out.bias"):
        weights[last] = weights[last][:channels]  # eps_hat comes first
    unet = UNet(config)
    unet.load_state_dict(weights)
    return _saved(name, unet, replace(checkpoint.process, variance="fixed_small"), folder)


def random(name: str, preset: str, size: int, channels: int, folder: Path) -> Network:
    """Write a network of a preset, for square images, with random weights, to a new folder."""
    fields = {**PRESETS[preset], "sample_size": size}
    config = from_dict(UNetConfig, {**fields, "in_channels": channels, "out_channels": channels})
    torch.manual_seed(0)
    unet = UNet(config)
    initialise(unet)
    return _saved(name, unet, ProcessConfig(), folder)


def tiny(folder: Path) -> Network:
    """Write a network that takes no time, to a new folder: to try a benchmark with."""
    config = UNetConfig(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    torch.manual_seed(0)
    return _saved("tiny", UNet(config), ProcessConfig(), folder)


def _saved(name: str, unet: UNet, process: ProcessConfig, folder: Path) -> Network:
    save_checkpoint(folder, unet, process, ModelCard(name=name))
    return Network(name, open_checkpoint(folder))


NETWORKS: dict[str, Callable[[Path], Network]] = {
    "mnist": lambda folder: included("mnist", folder),
    "cifar10": lambda folder: included("cifar10", folder),
    "paper": lambda folder: random("paper", "paper", 32, 3, folder),
    "tiny": tiny,
}
"""By name: the included models, the paper's network for CIFAR-10 (35.7 million parameters), and one
that takes no time. Each writes its checkpoint to a new folder."""
