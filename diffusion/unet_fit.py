"""Whether the blocks of a U-Net fit: their channels, norms, attentions, skip connections.

The standard library only, as `diffusion.unet_plan`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from diffusion.fields import require
from diffusion.unet_plan import K_GROUP, Level, down_levels, gives_skips, groups_of, up_levels

if TYPE_CHECKING:
    from diffusion.unet_config import UNetConfig

PICTURE_CHANNELS = 3
"""Skip blocks take, and give, images of so many channels."""


def check_levels(config: "UNetConfig") -> None:
    """Raise ConfigError unless every block is given the channels and sizes that it takes, and its
    norms and attentions fit its channels."""
    downs, ups = down_levels(config), up_levels(config)
    for level in (*downs, *ups):
        _check_norms(config, level)
        for channels in level.attention_channels:
            _check_head(level.head_dim, channels)
    _check_ends(config)
    _check_skips(config, downs, ups)
    _check_pictures(config, downs, ups)


def _check_norms(config: "UNetConfig", level: Level) -> None:
    plain = level.kind.family == "plain"
    is_set = config.norm_num_groups is not None or not plain
    require(is_set, "norm_num_groups", None, f"set, for {level.kind.name}")
    for channels, groups in _norms(level):
        _check_groups(config, level.kind.name, channels, groups)


def _norms(level: Level) -> Iterator[tuple[int, int]]:
    """Channels and groups of each norm of a block."""
    uses_resampler = level.resamples and (level.kind.family == "skip" or level.kind.by_resnet)
    for widths in (*level.resnets, *((level.resampler,) if uses_resampler else ())):
        yield widths.in_channels, widths.groups[0]
        yield widths.channels, widths.groups[1]
    for channels in level.attention_channels:
        own = max(1, channels // K_GROUP)
        yield channels, own if level.kind.family == "k" else level.attention_groups


def _check_groups(config: "UNetConfig", where: str, channels: int, groups: int) -> None:
    fits = groups > 0 and channels % groups == 0
    parts = f"{groups} groups" if groups else f"groups of {K_GROUP}"
    allowed = f"such that {channels} channels, of a norm of {where}, part into {parts}"
    require(fits, "block_out_channels", config.block_out_channels, allowed)


def _check_head(width: int, channels: int) -> None:
    allowed = f"at most {channels}, a level's channels"
    require(width <= channels, "attention_head_dim", width, allowed)


def _check_ends(config: "UNetConfig") -> None:
    """The norms of the last layer and of the middle, and the attention there."""
    first, last = config.block_out_channels[0], config.block_out_channels[-1]
    _check_groups(config, "conv_norm_out", first, groups_of(config, first))
    if config.mid_block_type is None:
        return
    _check_groups(config, config.mid_block_type, last, groups_of(config, last))
    if config.add_attention:
        _check_head(config.head_dim(last), last)
        groups = config.attn_norm_num_groups
        fits = groups is None or last % groups == 0
        require(fits, "attn_norm_num_groups", groups, f"a divisor of {last}, or left out")


def _skips_of(downs: Sequence[Level]) -> list[tuple[int, int]]:
    """Channels and depth of each skip connection, in the order in which they are made."""
    skips = [(downs[0].resnets[0].in_channels, 0)]  # that of the first convolution
    for level in downs:
        width = level.resnets[-1].out_channels
        if gives_skips(level):
            skips += [(width, level.depth)] * len(level.resnets)
        if level.resamples and level.kind.family != "k":
            skips.append((width, level.depth + 1))
    return skips


def _check_skips(config: "UNetConfig", downs: Sequence[Level], ups: Sequence[Level]) -> None:
    """Go up as an image does, and see that each block is given what it takes."""
    skips = _skips_of(downs)
    x = downs[-1].resnets[-1].out_channels
    for level in ups:
        count = len(level.resnets) if level.takes_skips else 0
        taken = [skips.pop() for _ in range(min(count, len(skips)))]
        if level.kind.family == "k":
            _check_k_size(config, level)
            taken = taken[:1]  # it uses only the last that was made
        meets = level.takes_skips == gives_skips(downs[level.depth])
        is_level = all(depth == level.depth for _, depth in taken)
        fits = meets and is_level and _takes(level, x, [width for width, _ in taken])
        allowed = f"such that {level.kind.name} finds the skip connections that it takes"
        require(fits, "up_block_types", config.up_block_types, allowed)
        x = level.resnets[-1].out_channels


def _check_k_size(config: "UNetConfig", level: Level) -> None:
    least = min(config.image_size) >> level.depth
    allowed = f"such that {level.kind.name} gets images of 2 pixels or more"
    require(least > 1 or not level.resamples, "sample_size", config.sample_size, allowed)


def _takes(level: Level, x: int, skips: Sequence[int]) -> bool:
    """Do x channels, with those of the skip connections, fit the residual blocks of a level?"""
    if level.kind.family == "k":  # all that it takes goes into the first
        return level.resnets[0].in_channels == x + sum(skips)
    inputs = [x] + [resnet.out_channels for resnet in level.resnets[:-1]]
    given = [width + skip for width, skip in zip(inputs, skips, strict=False)]
    return given == [resnet.in_channels for resnet in level.resnets]


def _check_pictures(config: "UNetConfig", downs: Sequence[Level], ups: Sequence[Level]) -> None:
    """See that the image beside the features, of Skip blocks, has their size and three channels."""
    halving = [level.kind.family == "skip" for level in downs if level.resamples]
    doubling = [level.kind.family == "skip" for level in ups]
    starts = "such that no other block comes before a Skip block, but where it is the lowest"
    require(halving == sorted(halving, reverse=True), "down_block_types",
            config.down_block_types, starts)  # fmt: skip
    ends = "such that no other block comes after a Skip block"
    require(doubling == sorted(doubling), "up_block_types", config.up_block_types, ends)
    for name, uses in (("in_channels", halving), ("out_channels", doubling[:-1])):
        value = getattr(config, name)
        fits = value == PICTURE_CHANNELS or not any(uses)
        require(fits, name, value, f"{PICTURE_CHANNELS}, for Skip blocks")
