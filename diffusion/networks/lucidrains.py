"""The `Unet` of lucidrains/denoising-diffusion-pytorch, under that project's module names.

It is no UNet2DModel: its first convolution is 7x7 and meets the last block again, its norms follow
the convolutions, attention is at every level, linear in the number of pixels but where a level asks
for the full one, and also sees learned keys and values. Since the names are those of the project,
its checkpoints need no renaming in either direction; diffusers has no such network.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.networks.lucidrains_config import LucidrainsUnetConfig
from diffusion.networks.network import Network
from diffusion.unet import timestep_embedding
from diffusion.unet_layers import FirstConv, GroupNorm, attend


class RMSNorm(nn.Module):
    """x over the root of its mean square over the channels, times a learned gain g a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.root = channels**0.5
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Take x (B,C,H,W) to the same shape."""
        y: Tensor = F.normalize(x, dim=1) * (self.g * self.root)
        return y


class TimestepEmbedding(nn.Module):
    """The sines and cosines of t."""

    def __init__(self, dim: int, theta: float) -> None:
        super().__init__()
        self.dim = dim
        self.theta = theta

    def forward(self, t: Tensor) -> Tensor:
        """Take t (B,) to (B,dim)."""
        return timestep_embedding(
            t, self.dim, freq_shift=1, flip_sin_to_cos=False, theta=self.theta
        )


class Block(nn.Module):
    """A convolution, a norm, scale and shift where they are given, and SiLU."""

    def __init__(self, config: LucidrainsUnetConfig, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1)
        is_rms = config.norm == "rms"
        self.norm = RMSNorm(channels) if is_rms else GroupNorm(config.norm_groups, channels)

    def forward(self, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        """Take x (B,C_in,H,W) to (B,C,H,W); scale and shift are (B,C,1,1), or None."""
        hidden: Tensor = self.norm(self.proj(x))
        if scale is not None and shift is not None:
            hidden = hidden * (1 + scale) + shift
        return F.silu(hidden)


class ResnetBlock(nn.Module):
    """Two blocks, the first told t, and a residual connection."""

    def __init__(self, config: LucidrainsUnetConfig, in_channels: int, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.dim, 2 * channels))
        self.block1 = Block(config, in_channels, channels)
        self.block2 = Block(config, channels, channels)
        resizes = in_channels != channels
        self.res_conv = nn.Conv2d(in_channels, channels, 1) if resizes else nn.Identity()

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Take x (B,C_in,H,W) and the time embedding temb (B,D) to (B,C,H,W)."""
        scale, shift = self.mlp(temb)[:, :, None, None].chunk(2, dim=1)  # (B,2C,1,1) -> two
        hidden = self.block2(self.block1(x, scale, shift), None, None)
        y: Tensor = hidden + self.res_conv(x)
        return y


class SelfAttention(nn.Module):
    """What both kinds of attention begin with: a norm, and queries, keys and values by heads."""

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.inner = heads * head_dim
        self.norm = RMSNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * self.inner, 1, bias=False)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of x (B,C,H,W), each (B, heads, head_dim, HW)."""
        B, _, H, W = x.shape
        parts = self.to_qkv(self.norm(x)).chunk(3, dim=1)
        q, k, v = (part.reshape(B, self.heads, -1, H * W) for part in parts)
        return q, k, v


class LinearAttention(SelfAttention):
    """Attention without a softmax over pairs: its cost grows with the pixels, not their square."""

    def __init__(self, channels: int, heads: int, head_dim: int, num_mem_kv: int) -> None:
        super().__init__(channels, heads, head_dim)
        self.scale = head_dim**-0.5
        if num_mem_kv:
            self.mem_kv = nn.Parameter(torch.zeros(2, heads, head_dim, num_mem_kv))
        self.to_out = nn.Sequential(nn.Conv2d(self.inner, channels, 1), RMSNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of x (B,C,H,W) see a summary of all: of the same shape."""
        B, _, H, W = x.shape
        q, k, v = self.qkv(x)
        if hasattr(self, "mem_kv"):
            k, v = (
                torch.cat([memory.expand(B, -1, -1, -1), each], dim=-1)
                for memory, each in zip(self.mem_kv, (k, v), strict=True)
            )
        # The summary: a matrix (head_dim, head_dim) of keys and values, summed over positions
        context = k.softmax(dim=-1) @ v.transpose(-1, -2)
        out = context.transpose(-1, -2) @ (q.softmax(dim=-2) * self.scale)
        y: Tensor = self.to_out(out.reshape(B, self.inner, H, W))
        return y


class FullAttention(SelfAttention):
    """softmax(q k^T / sqrt(head_dim)) v over all positions."""

    def __init__(self, channels: int, heads: int, head_dim: int, num_mem_kv: int) -> None:
        super().__init__(channels, heads, head_dim)
        if num_mem_kv:
            self.mem_kv = nn.Parameter(torch.zeros(2, heads, num_mem_kv, head_dim))
        self.to_out = nn.Conv2d(self.inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position of x (B,C,H,W) attend to all: of the same shape."""
        B, _, H, W = x.shape
        q, k, v = (part.transpose(-1, -2) for part in self.qkv(x))  # (B, heads, HW, head_dim)
        if hasattr(self, "mem_kv"):
            k, v = (
                torch.cat([memory.expand(B, -1, -1, -1), each], dim=-2)
                for memory, each in zip(self.mem_kv, (k, v), strict=True)
            )
        out = attend(q, k, v).transpose(-1, -2)  # (B, heads, head_dim, HW)
        y: Tensor = self.to_out(out.reshape(B, self.inner, H, W))
        return y


class DownLevel(nn.ModuleList):
    """Two residual blocks, attention, and a layer that gives the next level's width and, but at the
    last level, half the size. It is a list, since the project's names are numbers."""

    def __init__(self, config: LucidrainsUnetConfig, level: int) -> None:
        width, below = config.widths[level : level + 2]
        if level == config.levels - 1:
            resample: nn.Module = nn.Conv2d(width, below, 3, padding=1)
        else:
            resample = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, below, 1))
        blocks = ResnetBlock(config, width, width), ResnetBlock(config, width, width)
        super().__init__([*blocks, attention(config, level, width), resample])

    def forward(self, x: Tensor, temb: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the two skip connections, and what goes on down."""
        block1, block2, attends, resample = self
        x = block1(x, temb)
        skips = [x]
        x = block2(x, temb)
        x = attends(x) + x
        return [*skips, x], resample(x)


class UpLevel(nn.ModuleList):
    """Two residual blocks, each of the input and a skip connection, attention, and a layer that
    gives the width of the level above and, but at the first level, twice the size."""

    def __init__(self, config: LucidrainsUnetConfig, level: int) -> None:
        above, width = config.widths[level : level + 2]
        resample: nn.Module = nn.Conv2d(width, above, 3, padding=1)
        if level > 0:
            resample = nn.Sequential(nn.Upsample(scale_factor=2), resample)
        both = width + above
        blocks = ResnetBlock(config, both, width), ResnetBlock(config, both, width)
        super().__init__([*blocks, attention(config, level, width), resample])

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor) -> Tensor:
        """Take x up a level; the skip connections used are removed from the end of `skips`."""
        block1, block2, attends, resample = self
        x = block1(torch.cat([x, skips.pop()], dim=1), temb)
        x = block2(torch.cat([x, skips.pop()], dim=1), temb)
        y: Tensor = resample(attends(x) + x)
        return y


def attention(config: LucidrainsUnetConfig, level: int, width: int) -> nn.Module:
    """Make the attention of a level."""
    kind = FullAttention if config.full_attention[level] else LinearAttention
    return kind(width, config.heads[level], config.head_dim[level], config.num_mem_kv)


class LucidrainsUnet(Network):
    """The network; H and W are multiples of 2^(levels - 1)."""

    config: LucidrainsUnetConfig
    exact_layers = re.compile(r"init_conv|downs\.0\.0\.block1\.proj|time_mlp\.|.*\.mlp\.1")

    def __init__(self, config: LucidrainsUnetConfig) -> None:
        super().__init__()
        self.config = config
        first, last = config.widths[0], config.widths[-1]
        self.init_conv = FirstConv(config.in_channels, first, 7, padding=3)
        self.time_mlp = nn.Sequential(
            TimestepEmbedding(config.dim, config.theta),
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Linear(4 * config.dim, 4 * config.dim),
        )
        levels = range(config.levels)
        self.downs = nn.ModuleList([DownLevel(config, level) for level in levels])
        self.mid_block1 = ResnetBlock(config, last, last)
        self.mid_attn = FullAttention(
            last, config.heads[-1], config.head_dim[-1], config.num_mem_kv
        )
        self.mid_block2 = ResnetBlock(config, last, last)
        self.ups = nn.ModuleList([UpLevel(config, level) for level in reversed(levels)])
        self.final_res_block = ResnetBlock(config, 2 * first, first)
        self.final_conv = nn.Conv2d(first, config.out_channels, 1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict (B,C,H,W) of x_t (B,C,H,W) and t (B,), as `Network` says. Raises ValueError when
        it is given a label: the network is unconditional."""
        if label is not None:
            raise ValueError("label: needed by, and only by, class-conditional models")
        temb = self.time_mlp(t)
        x = first = self.init_conv(x_t)
        skips: list[Tensor] = []  # two of each level
        for down in self.downs:
            kept, x = down(x, temb)
            skips += kept
        x = self.mid_block1(x, temb)
        x = self.mid_attn(x) + x
        x = self.mid_block2(x, temb)
        for up in self.ups:
            x = up(x, skips, temb)
        x = self.final_res_block(torch.cat([x, first], dim=1), temb)
        out: Tensor = self.final_conv(x)
        return out
