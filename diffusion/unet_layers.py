"""The layers of the U-Net's blocks, under the module names of diffusers' UNet2DModel."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.unet_config import UNetConfig
from diffusion.unet_plan import Widths, time_dim

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "relu": F.relu,
}


class GroupNorm(nn.GroupNorm):
    """Group normalisation, in float32 even where a CPU computes the rest in bfloat16.

    PyTorch's CPU kernel for bfloat16 images and float32 weights takes longer than two casts and the
    float32 kernel together.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float32, torch.float64) or x.device.type != "cpu":
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


class FirFilter(nn.Module):
    """Half or twice the size, smoothed by the filter [1 3 3 1] / 8 in both directions.

    Beyond the border are zeros, or with `reflects` the image's reflection.
    """

    kernel: Tensor  # (C,1,4,4)

    def __init__(self, channels: int, factor: float, *, reflects: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.factor = factor
        self.reflects = reflects
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        # Each pixel of twice the size gets a quarter of the taps
        kernel = torch.outer(taps, taps) * max(1.0, factor) ** 2
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Take x (B,C,H,W) to (B,C,H/2,W/2) or (B,C,2H,2W)."""
        # Zeros are left to the convolutions: OpenVINO 2026.4 takes a pad before the transposed one
        # for part of it, and gets its size wrong
        if self.reflects:
            x = F.pad(x, (1, 1, 1, 1), "reflect")
        if self.factor < 1:
            padding = 0 if self.reflects else 1
            return F.conv2d(x, self.kernel, stride=2, padding=padding, groups=self.channels)
        padding = 3 if self.reflects else 1
        return F.conv_transpose2d(x, self.kernel, stride=2, padding=padding, groups=self.channels)


class Resnet(nn.Module):
    """A residual block: norm, act, conv, + time, norm, act, dropout, conv, + input.

    `resample` 0.5 or 2 also halves or doubles the size: by the mean of four pixels or by nearest
    neighbours, or with `fir` by a filter.
    """

    def __init__(
        self,
        config: UNetConfig,
        widths: Widths,
        *,
        resample: float = 1.0,
        fir: bool = False,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        in_channels, channels, out_channels, groups = widths
        self.act = ACTIVATIONS[config.act_fn]
        self.scale_shift = config.resnet_time_scale_shift == "scale_shift"
        self.resample = resample
        self.fir = FirFilter(in_channels, resample) if fir else None
        self.output_scale = output_scale
        self.norm1 = GroupNorm(groups[0], in_channels, config.norm_eps)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim(config), channels * (1 + self.scale_shift))
        self.norm2 = GroupNorm(groups[1], channels, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(channels, out_channels, 3, padding=1)
        changes = in_channels != out_channels or fir
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if changes else None

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
        if self.fir is not None:
            filtered: Tensor = self.fir(x)
            return filtered
        if self.resample < 1.0:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class SelfAttention(nn.Module):
    """Every position of an image attends to all."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.heads = channels // head_dim
        inner = self.heads * head_dim
        self.to_q = nn.Linear(channels, inner)
        self.to_k = nn.Linear(channels, inner)
        self.to_v = nn.Linear(channels, inner)
        self.to_out = nn.Sequential(nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Let the H*W positions of x (B,C,H,W) attend: of the same shape."""
        B, C, H, W = x.shape
        hidden = x.reshape(B, C, H * W).transpose(1, 2)  # (B, HW, C)
        q, k, v = (self._split(layer(hidden)) for layer in (self.to_q, self.to_k, self.to_v))
        out = attend(q, k, v)  # (B, heads, HW, head_dim)
        out = self.to_out(out.transpose(1, 2).reshape(B, H * W, -1))  # (B, HW, C)
        y: Tensor = out.transpose(1, 2).reshape(B, C, H, W)
        return y

    def _split(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        return x.reshape(B, N, self.heads, -1).transpose(1, 2)  # (B, heads, HW, head_dim)


class Attention(SelfAttention):
    """Self-attention with a norm before it, unless `groups` is None, and a residual connection."""

    def __init__(
        self,
        channels: int,
        head_dim: int,
        groups: int | None,
        eps: float,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__(channels, head_dim)
        self.output_scale = output_scale
        self.group_norm = GroupNorm(groups, channels, eps) if groups else None

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of x (B,C,H,W) attend to all: of the same shape."""
        y = super().forward(self.group_norm(x) if self.group_norm is not None else x) + x
        return y / self.output_scale if self.output_scale != 1.0 else y
