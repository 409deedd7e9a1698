"""The U-Net's layers and levels, under the module names of diffusers' UNet2DModel."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.unet_config import UNetConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "relu": F.relu,
}


def time_dim(config: UNetConfig) -> int:
    """Return the width of the time embedding: four times the first level's, unless it is set."""
    return config.time_embedding_dim or 4 * config.block_out_channels[0]


class GroupNorm(nn.GroupNorm):
    """Group normalisation, in float32 even where a CPU computes the rest in bfloat16.

    PyTorch's CPU kernel for bfloat16 images and float32 weights takes longer than two casts and the
    float32 kernel together.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class FirstConv(nn.Conv2d):
    """The convolution of x_t, in float32 even under autocast.

    Rounded to bfloat16, an image with little noise would lose the noise that is to be predicted.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


WIDE_HEAD = 128
"""Heads of at least so many channels take no longer in bfloat16 than in float32 on a CPU."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax(q k^T / sqrt(head_dim)) v, each (B, heads, N, head_dim).

    Narrow heads are computed in float32 on a CPU, where PyTorch's bfloat16 kernel takes up to ten
    times as long.
    """
    if q.dtype == torch.float32 or q.device.type != "cpu" or q.shape[-1] >= WIDE_HEAD:
        return F.scaled_dot_product_attention(q, k, v)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)


class TimeEmbedding(nn.Module):
    """The two dense layers after the sinusoidal embedding of t."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Take the sinusoidal embedding x (B,in_dim) to (B,dim)."""
        hidden: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return hidden


class Downsample(nn.Module):
    """A convolution of stride 2; padding 0 stands for the paper's, at the right and bottom only."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.asymmetric = padding == 0
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:  # noqa: ARG002 - the resamplers' signature
        """Take x (B,C,H,W) to (B,C,H/2,W/2)."""
        # (0, 1, 0, 1): a column to the right, a row at the bottom
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)
        return y


class Upsample(nn.Module):
    """Twice the size by nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:  # noqa: ARG002 - the resamplers' signature
        """Take x (B,C,H,W) to (B,C,2H,2W)."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class Resnet(nn.Module):
    """A residual block: norm, act, conv, + time, norm, act, dropout, conv, + input.

    `resample` 0.5 or 2 also halves or doubles the size.
    """

    def __init__(
        self,
        config: UNetConfig,
        in_channels: int,
        out_channels: int,
        *,
        resample: float = 1.0,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        groups, norm_eps = config.norm_num_groups, config.norm_eps
        self.act = ACTIVATIONS[config.act_fn]
        self.scale_shift = config.resnet_time_scale_shift == "scale_shift"
        self.resample = resample
        self.output_scale = output_scale
        self.norm1 = GroupNorm(groups, in_channels, norm_eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim(config), out_channels * (1 + self.scale_shift))
        self.norm2 = GroupNorm(groups, out_channels, norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Take x (B,C,H,W) and the time embedding temb (B,D) to (B,C_out,H',W')."""
        # First half; a resized block resizes both branches, so that they can be added
        hidden = self.act(self.norm1(x))
        if self.resample != 1.0:
            x, hidden = self._resize(x), self._resize(hidden)
        hidden = self.conv1(hidden)
        time = self.time_emb_proj(self.act(temb))[:, :, None, None]  # (B,C,1,1), or 2C
        # Second half, told t: added (the paper), or as scale and shift of the norm (IDDPM)
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)  # (B,2C,1,1) -> two of (B,C,1,1)
            hidden = self.norm2(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm2(hidden + time)
        hidden = self.conv2(self.dropout(self.act(hidden)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)  # 1x1, to the new number of channels
        y: Tensor = x + hidden
        return y / self.output_scale if self.output_scale != 1.0 else y

    def _resize(self, x: Tensor) -> Tensor:
        if self.resample < 1.0:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Attention(nn.Module):
    """Self-attention over the H*W positions of an image, with a residual connection."""

    def __init__(
        self, config: UNetConfig, channels: int, groups: int | None, output_scale: float = 1.0
    ) -> None:
        super().__init__()
        head_dim = config.attention_head_dim or channels  # the paper has one head
        self.heads = channels // head_dim
        self.output_scale = output_scale
        inner = self.heads * head_dim
        self.group_norm = GroupNorm(groups, channels, config.norm_eps) if groups else None
        self.to_q = nn.Linear(channels, inner)
        self.to_k = nn.Linear(channels, inner)
        self.to_v = nn.Linear(channels, inner)
        self.to_out = nn.Sequential(nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of x (B,C,H,W) attend to all: of the same shape."""
        B, C, H, W = x.shape
        hidden = self.group_norm(x) if self.group_norm is not None else x
        hidden = hidden.reshape(B, C, H * W).transpose(1, 2)  # (B, HW, C)
        q, k, v = (self._split(layer(hidden)) for layer in (self.to_q, self.to_k, self.to_v))
        out = attend(q, k, v)  # (B, heads, HW, head_dim)
        out = self.to_out(out.transpose(1, 2).reshape(B, H * W, -1))  # (B, HW, C)
        y: Tensor = out.transpose(1, 2).reshape(B, C, H, W) + x  # residual
        return y / self.output_scale if self.output_scale != 1.0 else y

    def _split(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        return x.reshape(B, N, self.heads, -1).transpose(1, 2)  # (B, heads, HW, head_dim)


class Block(nn.Module):
    """One level of the network: resnets, each followed by attention where the level has it."""

    def __init__(self, resnets: list[Resnet], attentions: list[Attention]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        if attentions:
            self.attentions = nn.ModuleList(attentions)
        self.has_attention = bool(attentions)

    def layer(self, i: int, x: Tensor, temb: Tensor) -> Tensor:
        """Apply the i-th resnet, and its attention if there is one."""
        x = self.resnets[i](x, temb)
        return self.attentions[i](x) if self.has_attention else x


class DownBlock(Block):
    """A level on the way down: resnets, then half the size unless it is the last level."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        channels = config.block_out_channels
        out = channels[level]
        # Input channels of each resnet: the level above's for the first, then the level's own
        widths = [channels[max(level - 1, 0)]] + [out] * (config.layers_per_block - 1)
        kind = config.down_block_types[level]
        attends = kind == "AttnDownBlock2D"
        super().__init__(
            [Resnet(config, width, out) for width in widths],
            [Attention(config, out, config.norm_num_groups) for _ in widths] if attends else [],
        )
        if level < len(channels) - 1:
            resnet = kind == "ResnetDownsampleBlock2D" or (
                attends and config.downsample_type == "resnet"
            )
            self.downsamplers = nn.ModuleList(
                [
                    Resnet(config, out, out, resample=0.5)
                    if resnet
                    else Downsample(out, config.downsample_padding)
                ]
            )

    def forward(self, x: Tensor, temb: Tensor) -> list[Tensor]:
        """Return the outputs of all layers, which are skip connections; the last goes on down."""
        skips = []
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            skips.append(self.downsamplers[0](x, temb))
        return skips


class UpBlock(Block):
    """A level on the way up: resnets, each of the input and a skip connection, then twice the size
    unless it is the last level."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        channels = config.block_out_channels[::-1]  # levels are counted from the lowest up
        out = channels[level]
        # One resnet more than on the way down: for the skip connection of the downsampling above,
        # or of the first convolution
        count = config.layers_per_block + 1
        inputs = [channels[max(level - 1, 0)]] + [out] * (count - 1)
        # Channels of the skip connections; the last one comes from the level above
        skips = [out] * (count - 1) + [channels[min(level + 1, len(channels) - 1)]]
        kind = config.up_block_types[level]
        attends = kind == "AttnUpBlock2D"
        super().__init__(
            [Resnet(config, x + skip, out) for x, skip in zip(inputs, skips, strict=True)],
            [Attention(config, out, config.norm_num_groups) for _ in inputs] if attends else [],
        )
        if level < len(channels) - 1:
            resnet = kind == "ResnetUpsampleBlock2D" or (
                attends and config.upsample_type == "resnet"
            )
            self.upsamplers = nn.ModuleList(
                [Resnet(config, out, out, resample=2.0) if resnet else Upsample(out)]
            )

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor) -> Tensor:
        """Take x up a level; the skip connections used are removed from the end of `skips`."""
        for i in range(len(self.resnets)):
            x = self.layer(i, torch.cat([x, skips.pop()], dim=1), temb)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x, temb)
        return x


class MidBlock(nn.Module):
    """Resnet, attention and resnet at the lowest resolution."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
        # As diffusers decides whether this attention has a norm, and of how many groups
        groups = config.attn_norm_num_groups
        if groups is None and config.resnet_time_scale_shift == "default":
            groups = config.norm_num_groups
        self.resnets = nn.ModuleList(
            [Resnet(config, channels, channels, output_scale=scale) for _ in range(2)]
        )
        self.attends = config.add_attention
        if self.attends:
            self.attentions = nn.ModuleList([Attention(config, channels, groups, scale)])

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        if self.attends:
            x = self.attentions[0](x)
        y: Tensor = self.resnets[1](x, temb)
        return y
