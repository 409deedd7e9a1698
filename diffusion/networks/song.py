"""The `SongUNet` of NVlabs/edm in its form of DDPM++, preconditioned, under nearly its names there.

It is no UNet2DModel: every sum is scaled by sqrt(1/2), levels are resized within residual blocks,
and the label enters before the time embedding's layers. Around it that project has a
*preconditioning*: at each noise level what the network takes is scaled, and what it gives is
scaled and added to what it took, scaled too. For a chain of T steps the scales are tables:

    eps_hat = skip_scale_t x_t + output_scale_t F(input_scale_t x_t, noise_label_t, label)

The tables are saved with the weights; `diffusion.importing.edm` says how they follow from the
noise levels. diffusers has no such network.
"""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.networks.network import Network
from diffusion.networks.song_config import NORM_GROUPS, SongUNetConfig
from diffusion.unet import timestep_embedding
from diffusion.unet_layers import FirstConv, GroupNorm, attend

TABLES = "input_scale", "skip_scale", "output_scale", "noise_label"
"""The names of the tables over t, each (T,) float32."""
ROOT_HALF = 0.5**0.5
"""Keeps the variance of a sum of two independent terms of equal variance."""
EPS = 1e-6
"""Of the norms."""


def norm(channels: int) -> GroupNorm:
    """Make a group norm, of at least four channels a group."""
    return GroupNorm(min(NORM_GROUPS, channels // 4), channels, EPS)


class Block(nn.Module):
    """A residual block, told t: resized by `resample` 0.5 or 2, and followed by attention of one
    head where it `attends`."""

    def __init__(
        self,
        config: SongUNetConfig,
        in_channels: int,
        channels: int,
        *,
        resample: float = 1.0,
        attends: bool = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.attends = attends
        self.norm0 = norm(in_channels)
        self.conv0 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.affine = nn.Linear(4 * config.model_channels, channels)
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        changes = in_channels != channels or resample != 1.0
        self.skip = nn.Conv2d(in_channels, channels, 1) if changes else nn.Identity()
        if attends:
            self.norm2 = norm(channels)
            self.qkv = nn.Conv2d(channels, 3 * channels, 1)
            self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """Take x (B,C_in,H,W) and the time embedding temb (B,D) to (B,C,H',W')."""
        hidden = self.conv0(self._resize(F.silu(self.norm0(x))))
        hidden = F.silu(self.norm1(hidden + self.affine(temb)[:, :, None, None]))
        x = (self.skip(self._resize(x)) + self.conv1(hidden)) * ROOT_HALF
        return (x + self._attention(x)) * ROOT_HALF if self.attends else x

    def _resize(self, x: Tensor) -> Tensor:
        if self.resample == 1.0:
            return x
        if self.resample < 1.0:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")

    def _attention(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        # The channels of q, k and v take turns
        q, k, v = self.qkv(self.norm2(x)).reshape(B, C, 3, H * W).transpose(1, 3).unbind(2)
        out = attend(q[:, None], k[:, None], v[:, None])  # (B, 1, HW, C)
        y: Tensor = self.proj(out[:, 0].transpose(1, 2).reshape(B, C, H, W))
        return y


class SongUNet(Network):
    """The network with its preconditioning; it gives eps_hat."""

    config: SongUNetConfig
    input_scale: Tensor
    skip_scale: Tensor
    output_scale: Tensor
    noise_label: Tensor

    def __init__(self, config: SongUNetConfig) -> None:
        super().__init__()
        self.config = config
        width, top = config.model_channels, config.image_size[0]
        self.exact_layers = re.compile(rf"enc\.{top}x{top}_(conv$|block0\.conv0)|map_|.*\.affine")
        for name in TABLES:
            self.register_buffer(name, torch.zeros(config.num_train_timesteps))
        if config.label_dim:
            self.map_label = nn.Linear(config.label_dim, width)
        self.map_layer0 = nn.Linear(width, 4 * width)
        self.map_layer1 = nn.Linear(4 * width, 4 * width)
        self.enc, kept = _encoder(config)
        self.dec = _decoder(config, kept)
        last = config.channel_mult[0] * width
        self.out_norm = norm(last)
        self.out_conv = nn.Conv2d(last, config.out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Compute eps_hat (B,C,H,W) of x_t (B,C,H,W), t (B,) and label (B,) or None.

        Raises ValueError when a class-conditional model is given no label, or another model one.
        """
        if (label is None) != (self.config.num_class_embeds is None):
            raise ValueError("label: needed by, and only by, class-conditional models")
        into, skip, out = (
            table[t][:, None, None, None]
            for table in (self.input_scale, self.skip_scale, self.output_scale)
        )
        return skip * x_t + out * self._predict(into * x_t, self.noise_label[t], label)

    def _predict(self, x: Tensor, noise_label: Tensor, label: Tensor | None) -> Tensor:
        """The network without its preconditioning."""
        temb = timestep_embedding(
            noise_label, self.config.model_channels, freq_shift=1, flip_sin_to_cos=False
        )
        if label is not None:
            # One-hot vectors of length sqrt(classes), through a dense layer
            row = F.embedding(label, self.map_label.weight.T)
            temb = temb + row * self.config.label_dim**0.5 + self.map_label.bias
        temb = F.silu(self.map_layer1(F.silu(self.map_layer0(temb))))
        skips: list[Tensor] = []
        for block in self.enc.values():
            x = block(x, temb) if isinstance(block, Block) else block(x)
            skips.append(x)
        for name, block in self.dec.items():
            if "_block" in name:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, temb)
        y: Tensor = self.out_conv(F.silu(self.out_norm(x)))
        return y


def _encoder(config: SongUNetConfig) -> tuple[nn.ModuleDict, list[int]]:
    """The way down, and how many channels each of its layers gives."""
    width = config.model_channels
    layers: dict[str, nn.Module] = {}
    kept: list[int] = []
    for side, mult in zip(config.resolutions, config.channel_mult, strict=True):
        if not kept:
            layers[f"{side}x{side}_conv"] = FirstConv(config.in_channels, width, 3, padding=1)
            kept.append(width)
        else:
            layers[f"{side}x{side}_down"] = Block(config, kept[-1], kept[-1], resample=0.5)
            kept.append(kept[-1])
        attends = side in config.attn_resolutions
        for i in range(config.num_blocks):
            layers[f"{side}x{side}_block{i}"] = Block(
                config, kept[-1], mult * width, attends=attends
            )
            kept.append(mult * width)
    return nn.ModuleDict(layers), kept


def _decoder(config: SongUNetConfig, kept: list[int]) -> nn.ModuleDict:
    """The way up: each `block` also takes a layer of the way down, the last one first."""
    levels = list(zip(config.resolutions, config.channel_mult, strict=True))[::-1]
    layers: dict[str, nn.Module] = {}
    skips, width = list(kept), kept[-1]
    for side, mult in levels:
        if not layers:
            layers[f"{side}x{side}_in0"] = Block(config, width, width, attends=True)
            layers[f"{side}x{side}_in1"] = Block(config, width, width)
        else:
            layers[f"{side}x{side}_up"] = Block(config, width, width, resample=2.0)
        channels = mult * config.model_channels
        for i in range(config.num_blocks + 1):
            is_last = i == config.num_blocks
            layers[f"{side}x{side}_block{i}"] = Block(
                config,
                width + skips.pop(),
                channels,
                attends=is_last and side in config.attn_resolutions,
            )
            width = channels
    return nn.ModuleDict(layers)
