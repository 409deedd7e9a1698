"""What defines the network: frozen, validated, with the names of diffusers' fields.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

import math
from dataclasses import dataclass
from typing import Literal

from diffusion.fields import require
from diffusion.unet_fit import check_levels
from diffusion.unet_plan import ALIAS, DOWN_TYPES, UP_TYPES

MAX_LEVELS, MAX_LAYERS, MAX_WIDTH = 10, 16, 16_384
"""Levels, residual blocks in a level, and channels of one: far above any network's. Without bounds
a file of a hundred bytes could describe a network that takes hours to refuse."""
MAX_ROWS = 1_000_000
"""Of an embedding, and of other sizes."""
MAX_SIDE = 16_384
"""Pixels of an image's side."""


@dataclass(frozen=True)
class UNetConfig:
    """The network epsilon_theta, with the fields and defaults of diffusers' `UNet2DModel`."""

    sample_size: int | tuple[int, int] = 32
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: Literal["positional", "learned", "fourier"] = "positional"
    time_embedding_dim: int | None = None
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = ("DownBlock2D",) + ("AttnDownBlock2D",) * 3
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D",) * 3 + ("UpBlock2D",)
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1.0
    downsample_padding: int = 1
    downsample_type: Literal["conv", "resnet"] | None = "conv"
    upsample_type: Literal["conv", "resnet"] | None = "conv"
    dropout: float = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int | None = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    class_embed_type: Literal["timestep", "identity"] | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_sizes()
        check_levels(self)
        if self.time_embedding_type == "learned":
            count = self.num_train_timesteps
            require(count is not None, "num_train_timesteps", count, "set, for a learned embedding")
        if self.time_embedding_type == "positional":
            half = self.time_proj_dim // 2
            fits = self.freq_shift < max(half, 1)
            allowed = f"below {half}, half of the first block_out_channels"
            require(fits, "freq_shift", self.freq_shift, allowed)

    def _check_numbers(self) -> None:
        for name, most in (
            ("in_channels", MAX_WIDTH),
            ("out_channels", MAX_WIDTH),
            ("layers_per_block", MAX_LAYERS),
        ):
            value = getattr(self, name)
            require(1 <= value <= most, name, value, f"1..{most}")
        for name in (
            "time_embedding_dim",
            "attention_head_dim",
            "norm_num_groups",
            "attn_norm_num_groups",
            "num_class_embeds",
            "num_train_timesteps",
        ):
            value = getattr(self, name)
            fits = value is None or 1 <= value <= MAX_ROWS
            require(fits, name, value, f"1..{MAX_ROWS}, or left out")
        padding, scale, eps = self.downsample_padding, self.mid_block_scale_factor, self.norm_eps
        require(padding in (0, 1), "downsample_padding", padding, "0 or 1")
        require(0 < scale < math.inf, "mid_block_scale_factor", scale, "above 0")
        require(0 <= eps < math.inf, "norm_eps", eps, "at least 0")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "0 or more and below 1")

    def _check_sizes(self) -> None:
        channels = self.block_out_channels
        levels = len(channels)
        numbers = f"1..{MAX_LEVELS} numbers, one a level"
        require(1 <= levels <= MAX_LEVELS, "block_out_channels", channels, numbers)
        for name, types in (("down_block_types", DOWN_TYPES), ("up_block_types", UP_TYPES)):
            blocks = getattr(self, name)
            require(len(blocks) == levels, name, blocks, f"{levels} blocks, one a level")
            known = {block.removeprefix(ALIAS) for block in blocks} <= types.keys()
            require(known, name, blocks, f"among {', '.join(types)}")
        for size in self.image_size:
            factor = 2 ** (levels - 1)
            fits = 0 < size <= MAX_SIDE and size % factor == 0
            require(fits, "sample_size", size, f"a multiple of {factor}, 1..{MAX_SIDE}")
        for count in channels:
            require(0 < count <= MAX_WIDTH, "block_out_channels", count, f"1..{MAX_WIDTH}")

    def check_labels(self) -> None:
        """Raise ConfigError unless the network can be told labels as they are here: 0, 1, 2, …"""
        kind, count = self.class_embed_type, self.num_class_embeds
        whole = "'timestep' or left out: a label is a whole number here, and not its own embedding"
        require(kind != "identity", "class_embed_type", kind, whole)
        if kind == "timestep":
            embedding = self.time_embedding_type
            allowed = "another with class_embed_type 'timestep', since the label 0 has no logarithm"
            require(embedding != "fourier", "time_embedding_type", embedding, allowed)
            allowed = "the number of classes, which class_embed_type 'timestep' does not tell"
            require(count is not None, "num_class_embeds", count, allowed)
            rows = self.num_train_timesteps
            fits = embedding != "learned" or rows is None or (count or 0) <= rows
            allowed = f"at most {rows}, the timesteps of which a label takes the embedding"
            require(fits, "num_class_embeds", count, allowed)

    def head_dim(self, channels: int) -> int:
        """Return the channels of a head, in an attention of so many; the paper has one head."""
        return self.attention_head_dim or channels

    @property
    def time_proj_dim(self) -> int:
        """The width of t's embedding before its dense layers; a Fourier embedding has twice it."""
        return self.block_out_channels[0]

    @property
    def max_timesteps(self) -> int | None:
        """The network knows t in 0 .. max_timesteps - 1: a learned embedding's rows; None: any."""
        return self.num_train_timesteps if self.time_embedding_type == "learned" else None

    @property
    def min_timestep(self) -> int:
        """The least t that the network can be told: a Fourier embedding is of log t."""
        return 1 if self.time_embedding_type == "fourier" else 0

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        size = self.sample_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (self.in_channels, *self.image_size)
