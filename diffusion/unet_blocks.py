"""The U-Net's plain blocks, those of the paper, under the module names of diffusers.

Every block passes on, beside the features x, an image that plain blocks leave as it is: that of
`unet_skip_blocks`.
"""

import torch
from torch import Tensor, nn

from diffusion.unet_config import UNetConfig
from diffusion.unet_layers import Attention, Downsample, Resnet, Upsample
from diffusion.unet_plan import Level, Widths, groups_of


class Block(nn.Module):
    """One level of the network: resnets, each followed by attention where the level has it."""

    def __init__(self, config: UNetConfig, level: Level, output_scale: float = 1.0) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [Resnet(config, widths, output_scale=output_scale) for widths in level.resnets]
        )
        self.has_attention = level.kind.attends
        if self.has_attention:
            groups, eps = level.attention_groups, config.norm_eps
            self.attentions = nn.ModuleList(
                [
                    Attention(channels, level.head_dim, groups, eps, output_scale)
                    for channels in level.attention_channels
                ]
            )

    def layer(self, i: int, x: Tensor, temb: Tensor) -> Tensor:
        """Apply the i-th resnet, and its attention if there is one."""
        x = self.resnets[i](x, temb)
        return self.attentions[i](x) if self.has_attention else x

    def down(self, x: Tensor, temb: Tensor) -> list[Tensor]:
        """Return the outputs of all layers, which are skip connections; the last goes on."""
        outputs = [x]
        for i in range(len(self.resnets)):
            outputs.append(self.layer(i, outputs[-1], temb))
        return outputs[1:]

    def up(self, x: Tensor, skips: list[Tensor], temb: Tensor) -> Tensor:
        """Apply all layers, each to its input and the last of `skips`, taken from there."""
        for i in range(len(self.resnets)):
            x = self.layer(i, torch.cat([x, skips.pop()], dim=1), temb)
        return x


class DownBlock(Block):
    """A level on the way down: resnets, then half the size unless it is the last level."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level)
        if level.resamples:
            out, padding = level.resampler.out_channels, config.downsample_padding
            by_resnet = level.kind.attends and config.downsample_type == "resnet"
            self.downsamplers = nn.ModuleList(
                [
                    Resnet(config, level.resampler, resample=0.5)
                    if by_resnet or level.kind.by_resnet
                    else Downsample(out, padding)
                ]
            )

    def forward(
        self, x: Tensor, image: Tensor, temb: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return what goes on down, the image, and the skip connections: all layers' outputs."""
        skips = self.down(x, temb)
        if hasattr(self, "downsamplers"):
            skips.append(self.downsamplers[0](skips[-1], temb))
        return skips[-1], image, skips


class UpBlock(Block):
    """A level on the way up: resnets, each of the input and a skip connection, then twice the size
    unless it is the last level."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level)
        if level.resamples:
            by_resnet = level.kind.attends and config.upsample_type == "resnet"
            self.upsamplers = nn.ModuleList(
                [
                    Resnet(config, level.resampler, resample=2.0)
                    if by_resnet or level.kind.by_resnet
                    else Upsample(level.resampler.out_channels)
                ]
            )

    def forward(
        self, x: Tensor, image: Tensor | None, skips: list[Tensor], temb: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Take x up a level; the skip connections used are removed from the end of `skips`."""
        x = self.up(x, skips, temb)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x, temb)
        return x, image


class MidBlock(nn.Module):
    """Resnet, attention and resnet at the lowest resolution."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
        groups = groups_of(config, channels)
        widths = Widths(channels, channels, channels, (groups, groups))
        self.resnets = nn.ModuleList([Resnet(config, widths, output_scale=scale) for _ in range(2)])
        self.attends = config.add_attention
        if self.attends:
            # As diffusers decides whether this attention has a norm, and of how many groups
            default = groups if config.resnet_time_scale_shift == "default" else None
            attention_groups = config.attn_norm_num_groups or default
            head_dim = config.head_dim(channels)
            self.attentions = nn.ModuleList(
                [Attention(channels, head_dim, attention_groups, config.norm_eps, scale)]
            )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        if self.attends:
            x = self.attentions[0](x)
        y: Tensor = self.resnets[1](x, temb)
        return y
