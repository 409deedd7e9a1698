"""The blocks of NCSN++ (Song et al. 2021), under the module names of diffusers.

On the way down they add the image, halved as often as the features, to these; on the way up each
adds a picture made of its features to those of the levels below, and their sum is the output.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.unet_blocks import Block
from diffusion.unet_config import UNetConfig
from diffusion.unet_fit import PICTURE_CHANNELS
from diffusion.unet_layers import FirFilter, GroupNorm, Resnet
from diffusion.unet_plan import Level

SCALE = math.sqrt(2)
"""Sums of two branches are divided by it, which keeps their variance."""


class SkipDownBlock(Block):
    """A level on the way down: layers, then features and image of half the size, added, unless it
    is the last level."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level, SCALE)
        self.resamples = level.resamples
        if level.resamples:
            widths = level.resampler
            self.resnet_down = Resnet(config, widths, resample=0.5, fir=True, output_scale=SCALE)
            self.downsamplers = nn.ModuleList([FirFilter(PICTURE_CHANNELS, 0.5)])
            self.skip_conv = nn.Conv2d(PICTURE_CHANNELS, widths.out_channels, 1)

    def forward(
        self, x: Tensor, image: Tensor, temb: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return what goes on down, the image, and the skip connections: all layers' outputs."""
        skips = self.down(x, temb)
        if self.resamples:
            image = self.downsamplers[0](image)
            skips.append(self.skip_conv(image) + self.resnet_down(skips[-1], temb))
        return skips[-1], image, skips


class SkipUpBlock(Block):
    """A level on the way up: layers, then a picture for the output, and twice the size, unless it
    is the last level. It attends once, after all resnets."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level, SCALE)
        self.resamples = level.resamples
        self.upsampler = FirFilter(PICTURE_CHANNELS, 2.0)
        if level.resamples:
            widths = level.resampler
            channels, groups = widths.out_channels, widths.groups[1]
            self.resnet_up = Resnet(config, widths, resample=2.0, fir=True, output_scale=SCALE)
            self.skip_norm = GroupNorm(groups, channels, config.norm_eps)
            self.skip_conv = nn.Conv2d(channels, PICTURE_CHANNELS, 3, padding=1)

    def layer(self, i: int, x: Tensor, temb: Tensor) -> Tensor:
        """Apply the i-th resnet, and after the last the attention if there is one."""
        x = self.resnets[i](x, temb)
        is_last = i == len(self.resnets) - 1
        return self.attentions[0](x) if self.has_attention and is_last else x

    def forward(
        self, x: Tensor, image: Tensor | None, skips: list[Tensor], temb: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Take x and the picture so far up a level; the skip connections used are removed from the
        end of `skips`."""
        x = self.up(x, skips, temb)
        if image is not None:
            image = self.upsampler(image)
        if self.resamples:
            made = self.skip_conv(F.silu(self.skip_norm(x)))
            image = made if image is None else image + made
            x = self.resnet_up(x, temb)
        return x, image
