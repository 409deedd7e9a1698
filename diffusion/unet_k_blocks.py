"""The blocks of k-diffusion's networks, under the module names of diffusers.

Their norms have no weights of their own: scale and shift of each are made of t. In `UNet2DModel`
there is no text to attend to, so that what diffusers calls cross-attention is self-attention.
"""

import torch
from torch import Tensor, nn

from diffusion.unet_config import UNetConfig
from diffusion.unet_layers import ACTIVATIONS, FirFilter, GroupNorm, SelfAttention
from diffusion.unet_plan import K_GROUP, Level, Widths, gives_skips, time_dim

ATTENTION_EPS = 1e-5
"""Of the norms before attention, whatever `norm_eps` is."""


class TimedNorm(nn.Module):
    """A group norm whose scale and shift are made of the time embedding."""

    def __init__(self, temb_dim: int, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps, affine=False)
        self.linear = nn.Linear(temb_dim, 2 * channels)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Take x (B,C,H,W) and temb (B,D) to (B,C,H,W)."""
        scale, shift = self.linear(temb)[:, :, None, None].chunk(2, dim=1)  # two of (B,C,1,1)
        y: Tensor = self.norm(x) * (1 + scale) + shift
        return y


class KResnet(nn.Module):
    """A residual block: norm, act, conv, norm, act, dropout, conv, + input."""

    def __init__(self, config: UNetConfig, widths: Widths) -> None:
        super().__init__()
        in_channels, channels, out_channels, groups = widths
        temb_dim, eps = time_dim(config), config.norm_eps
        self.act = ACTIVATIONS[config.act_fn]
        self.norm1 = TimedNorm(temb_dim, in_channels, groups[0], eps)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.norm2 = TimedNorm(temb_dim, channels, groups[1], eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(channels, out_channels, 3, padding=1)
        changes = in_channels != out_channels
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False) if changes else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Take x (B,C,H,W) and the time embedding temb (B,D) to (B,C_out,H,W)."""
        hidden = self.conv1(self.act(self.norm1(x, temb)))
        hidden = self.conv2(self.dropout(self.act(self.norm2(hidden, temb))))
        y: Tensor = hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))
        return y


class CrossAttention(SelfAttention):
    """Self-attention with the weights of a norm that only text would go through."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__(channels, head_dim)
        self.norm_cross = nn.LayerNorm(channels)


class KAttention(nn.Module):
    """Attention, twice where `starts`, each after a norm and with a residual connection."""

    def __init__(self, config: UNetConfig, channels: int, head_dim: int, starts: bool) -> None:
        super().__init__()
        temb_dim, groups = time_dim(config), max(1, channels // K_GROUP)
        self.starts = starts
        if starts:
            self.norm1 = TimedNorm(temb_dim, channels, groups, ATTENTION_EPS)
            self.attn1 = SelfAttention(channels, head_dim)
        self.norm2 = TimedNorm(temb_dim, channels, groups, ATTENTION_EPS)
        self.attn2 = CrossAttention(channels, head_dim)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Let every position of x (B,C,H,W) attend to all: of the same shape."""
        if self.starts:
            x = x + self.attn1(self.norm1(x, temb))
        y: Tensor = x + self.attn2(self.norm2(x, temb))
        return y


class KBlock(nn.Module):
    """One level of the network: resnets, each followed by attention where the level has it."""

    def __init__(self, config: UNetConfig, level: Level, starts: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([KResnet(config, widths) for widths in level.resnets])
        self.has_attention = level.kind.attends
        if self.has_attention:
            self.attentions = nn.ModuleList(
                [
                    KAttention(config, channels, level.head_dim, starts)
                    for channels in level.attention_channels
                ]
            )

    def layer(self, i: int, x: Tensor, temb: Tensor) -> Tensor:
        """Apply the i-th resnet, and its attention if there is one."""
        x = self.resnets[i](x, temb)
        return self.attentions[i](x, temb) if self.has_attention else x


class KDownBlock(KBlock):
    """A level on the way down: layers, then half the size unless it is the last level."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level, starts=not level.resamples)
        self.gives_skips = gives_skips(level)
        if level.resamples:
            halved = FirFilter(level.resampler.out_channels, 0.5, reflects=True)
            self.downsamplers = nn.ModuleList([halved])

    def forward(
        self, x: Tensor, image: Tensor, temb: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return what goes on down, the image, and the skip connections: those of the layers."""
        skips = []
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
        return x, image, skips if self.gives_skips else []


class KUpBlock(KBlock):
    """A level on the way up: the input and one skip connection through all layers, then twice the
    size unless it is the last level."""

    def __init__(self, config: UNetConfig, level: Level) -> None:
        super().__init__(config, level, starts=not level.takes_skips)
        self.takes_skips = level.takes_skips
        if level.resamples:
            doubled = FirFilter(level.resnets[-1].out_channels, 2.0, reflects=True)
            self.upsamplers = nn.ModuleList([doubled])

    def forward(
        self, x: Tensor, image: Tensor | None, skips: list[Tensor], temb: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Take x up a level; of the skip connections of its level, which are removed from the end
        of `skips`, it uses the last."""
        if self.takes_skips:
            x = torch.cat([x, skips[-1]], dim=1)
            del skips[-len(self.resnets) :]
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x)
        return x, image
