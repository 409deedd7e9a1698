"""epsilon_theta: the paper's U-Net (appendix B), under the module names of diffusers' UNet2DModel.

Nothing here knows of diffusion: images and integers in, images out. Since the names are those of
diffusers, checkpoints need no renaming in either direction.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.networks.network import Network
from diffusion.unet_blocks import DownBlock, MidBlock, UpBlock
from diffusion.unet_config import UNetConfig
from diffusion.unet_k_blocks import KDownBlock, KResnet, KUpBlock
from diffusion.unet_layers import FirstConv, GroupNorm, Resnet, SelfAttention, TimeEmbedding
from diffusion.unet_plan import Level, down_levels, groups_of, time_dim, up_levels
from diffusion.unet_skip_blocks import SkipDownBlock, SkipUpBlock

NEARLY_ZERO = 1e-5
"""The square root of the paper's variance scale 1e-10."""
FOURIER_SCALE = 16
"""The standard deviation of the frequencies of a Fourier embedding (Song et al. 2021)."""


def timestep_embedding(
    t: Tensor, dim: int, *, freq_shift: int, flip_sin_to_cos: bool, theta: float = 10_000.0
) -> Tensor:
    """Embed t (B,) as sines and cosines, (B, dim) float32.

    The frequencies are theta^(-k / (dim/2 - freq_shift)); sines come first unless
    `flip_sin_to_cos`. The paper's code has freq_shift 1 and sines first.
    """
    # In float32, the network's own precision: the paper's code and diffusers do the same
    half = dim // 2
    k = torch.arange(half, dtype=torch.float32, device=t.device)
    # (B,1) times (1, dim/2)
    angle = t.float()[:, None] * torch.exp(-math.log(theta) * k / (half - freq_shift))[None, :]
    parts = (
        [torch.cos(angle), torch.sin(angle)]
        if flip_sin_to_cos
        else [torch.sin(angle), torch.cos(angle)]
    )
    return F.pad(torch.cat(parts, dim=-1), (0, dim % 2))  # an odd dim ends with a 0


class FourierEmbedding(nn.Module):
    """log t as sines and cosines of random frequencies, which are saved but not trained.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", for NCSN++.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count), requires_grad=False)
        self.draw()

    def draw(self) -> None:
        """Draw the frequencies."""
        nn.init.normal_(self.weight, std=FOURIER_SCALE)

    def forward(self, t: Tensor) -> Tensor:
        """Embed t (B,), above 0, as (B, 2 count) float32."""
        # In the order of diffusers, since angles reach thousands
        angle = torch.log(t.float())[:, None] * self.weight[None, :] * 2 * math.pi
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


class UNet(Network):
    """The network epsilon_theta(x_t, t, label); H and W are multiples of 2^(levels - 1)."""

    config: UNetConfig
    exact_layers = re.compile(
        r"conv_in|down_blocks\.0\.resnets\.0\.conv1|down_blocks\.\d+\.skip_conv"
        r"|time_embedding\b|class_embedding\b|.*\.time_emb_proj|.*norm\d\.linear"
    )

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first = config.block_out_channels[0]
        self.conv_in = FirstConv(config.in_channels, first, 3, padding=1)
        self.time_proj = _time_proj(config)
        self.time_embedding = TimeEmbedding(_embedded_dim(config), time_dim(config))
        self.class_embedding = _class_embedding(config)
        self.down_blocks = nn.ModuleList([_down(config, level) for level in down_levels(config)])
        self.mid_block = MidBlock(config) if config.mid_block_type else None
        self.up_blocks = nn.ModuleList([_up(config, level) for level in up_levels(config)])
        self.conv_norm_out = GroupNorm(groups_of(config, first), first, config.norm_eps)
        self.conv_out = nn.Conv2d(first, config.out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Compute eps_hat (B,C,H,W) of x_t (B,C,H,W), t (B,) and label (B,) or None.

        With twice as many output channels a learned variance's v follows. Where `class_embed_type`
        is "identity", the label is its own embedding, (B,D). Raises ValueError when a
        class-conditional model is given no label, or another model one.
        """
        config = self.config
        if (label is None) != (self.class_embedding is None):
            raise ValueError("label: needed by, and only by, class-conditional models")
        # What the layers are told: t, and the label
        temb = self.time_embedding(self._embed_time(t))
        if self.class_embedding is not None and label is not None:
            if config.class_embed_type == "timestep":
                label = self._embed_time(label)
            temb = temb + self.class_embedding(label)  # (B,D)
        # Down, every output kept as a skip connection
        image = 2 * x_t - 1 if config.center_input_sample else x_t
        x = self.conv_in(image)
        skips = [x]  # (B,channels[0],H,W), then each level's
        for down in self.down_blocks:
            x, image, made = down(x, image, temb)
            skips += made
        if self.mid_block is not None:
            x = self.mid_block(x, temb)
        # Up, using the skip connections from the last to the first
        picture: Tensor | None = None  # what Skip blocks add to the output
        for up in self.up_blocks:
            x, picture = up(x, picture, skips, temb)
        # Back to the image's channels
        eps_hat: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        if picture is not None:
            eps_hat = eps_hat + picture
        if config.time_embedding_type == "fourier":  # as diffusers has it
            eps_hat = eps_hat / t[:, None, None, None]
        return eps_hat

    def _embed_time(self, t: Tensor) -> Tensor:
        if self.time_proj is not None:
            embedded: Tensor = self.time_proj(t)
            return embedded
        config = self.config
        return timestep_embedding(
            t,
            config.time_proj_dim,
            freq_shift=config.freq_shift,
            flip_sin_to_cos=config.flip_sin_to_cos,
        )


def _time_proj(config: UNetConfig) -> nn.Module | None:
    """What embeds t; None for the paper's sines and cosines, which have no weights."""
    match config.time_embedding_type:
        case "positional":
            return None
        case "learned":
            return nn.Embedding(config.num_train_timesteps or 0, config.time_proj_dim)
        case "fourier":
            return FourierEmbedding(config.time_proj_dim)


def _embedded_dim(config: UNetConfig) -> int:
    """The width of t's embedding before its dense layers."""
    parts = 2 if config.time_embedding_type == "fourier" else 1  # sines and cosines of as many
    return parts * config.time_proj_dim


def _class_embedding(config: UNetConfig) -> nn.Module | None:
    """What takes a label to the width of the time embedding; None for an unconditional network."""
    match config.class_embed_type:
        case "timestep":  # of the label, embedded as a timestep is
            return TimeEmbedding(_embedded_dim(config), time_dim(config))
        case "identity":
            return nn.Identity()
    rows = config.num_class_embeds
    return None if rows is None else nn.Embedding(rows, time_dim(config))


def _down(config: UNetConfig, level: Level) -> nn.Module:
    match level.kind.family:
        case "plain":
            return DownBlock(config, level)
        case "skip":
            return SkipDownBlock(config, level)
        case "k":
            return KDownBlock(config, level)


def _up(config: UNetConfig, level: Level) -> nn.Module:
    match level.kind.family:
        case "plain":
            return UpBlock(config, level)
        case "skip":
            return SkipUpBlock(config, level)
        case "k":
            return KUpBlock(config, level)


@torch.no_grad()
def initialise(model: UNet) -> None:
    """Set a network's weights as the paper's code does before training.

    Variance scaling (fan-average, uniform) with zero biases. The last layer of every residual
    branch, and of the network, is nearly zero, so that each branch starts as the identity.
    """
    for module in model.modules():
        _draw_weights(module)
    # The last layer of each residual branch, and of the network
    for module in model.modules():
        if isinstance(module, Resnet | KResnet):
            module.conv2.weight.mul_(NEARLY_ZERO)
        if isinstance(module, SkipUpBlock) and module.resamples:  # its picture is output
            module.skip_conv.weight.mul_(NEARLY_ZERO)
        if isinstance(module, SelfAttention):
            for parameter in module.to_out.parameters():
                parameter.mul_(NEARLY_ZERO)
    model.conv_out.weight.mul_(NEARLY_ZERO)


def _draw_weights(module: nn.Module) -> None:
    """Draw the weights of one layer; those of a norm stay 1 and 0."""
    match module:
        case nn.Conv2d() | nn.Linear():
            # Variance scaling of scale 1, fan-average, uniform: bounds sqrt(6 / (fan_in + fan_out))
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case nn.Embedding():
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        case FourierEmbedding():
            module.draw()
