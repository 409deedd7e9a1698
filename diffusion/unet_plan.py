"""The blocks of a U-Net, level by level: of which widths their layers are, and whether they fit.

These are the blocks of which diffusers' `UNet2DModel` can be built, in three families. The paper's
are plain; those of NCSN++ (Song et al. 2021) pass the image on beside its features; those of
k-diffusion, whose names begin with K, are told t by all their norms.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from diffusion.fields import require

if TYPE_CHECKING:
    from diffusion.unet_config import UNetConfig


class BlockType(NamedTuple):
    """What a name among `down_block_types` or `up_block_types` stands for."""

    name: str
    family: Literal["plain", "skip", "k"]
    attends: bool = False
    by_resnet: bool = False
    """A residual block halves or doubles the size, whatever `downsample_type` says."""


DOWN_TYPES = {
    kind.name: kind
    for kind in (
        BlockType("DownBlock2D", "plain"),
        BlockType("AttnDownBlock2D", "plain", attends=True),
        BlockType("ResnetDownsampleBlock2D", "plain", by_resnet=True),
        BlockType("SkipDownBlock2D", "skip"),
        BlockType("AttnSkipDownBlock2D", "skip", attends=True),
        BlockType("KDownBlock2D", "k"),
        BlockType("KCrossAttnDownBlock2D", "k", attends=True),
    )
}
UP_TYPES = {
    kind.name: kind
    for kind in (
        BlockType("UpBlock2D", "plain"),
        BlockType("AttnUpBlock2D", "plain", attends=True),
        BlockType("ResnetUpsampleBlock2D", "plain", by_resnet=True),
        BlockType("SkipUpBlock2D", "skip"),
        BlockType("AttnSkipUpBlock2D", "skip", attends=True),
        BlockType("KUpBlock2D", "k"),
        BlockType("KCrossAttnUpBlock2D", "k", attends=True),
    )
}
ALIAS = "UNetRes"
"""With it before its name, a block is the same to diffusers."""
MOST_GROUPS = 32
"""Of the norms whose groups follow from their channels."""
K_GROUP = 32
"""Channels in a group of a K block's norms."""
PICTURE_CHANNELS = 3
"""Skip blocks take, and give, images of so many channels."""


class Widths(NamedTuple):
    """Channels of a residual block, and groups of its two norms."""

    in_channels: int
    channels: int  # between the convolutions
    out_channels: int
    groups: tuple[int, int]


class Level(NamedTuple):
    """A block as it is built: of which layers, and where it is."""

    kind: BlockType
    depth: int  # how often its images were halved
    resnets: tuple[Widths, ...]
    attention_groups: int  # of the norm before each attention; a K block has its own
    head_dim: int  # of the attentions
    resamples: bool  # it halves or doubles the size after its layers
    resampler: Widths  # of the residual block that does, where one does
    takes_skips: bool = True

    @property
    def attention_channels(self) -> tuple[int, ...]:
        """The channels of each attention."""
        if not self.kind.attends:
            return ()
        each = tuple(resnet.out_channels for resnet in self.resnets)
        is_once = self.kind.name == "AttnSkipUpBlock2D"
        return each[:1] if is_once else each


def time_dim(config: "UNetConfig") -> int:
    """Return the width of the time embedding: four times the first level's, unless it is set."""
    return config.time_embedding_dim or 4 * config.block_out_channels[0]


def groups_of(config: "UNetConfig", channels: int) -> int:
    """Return the groups of a norm of so many channels: as set, or else four channels in each."""
    return config.norm_num_groups or min(channels // 4, MOST_GROUPS)


def down_levels(config: "UNetConfig") -> list[Level]:
    """Return the blocks on the way down, from the largest images to the smallest."""
    channels = config.block_out_channels
    levels = []
    for depth, name in enumerate(config.down_block_types):
        kind, out = DOWN_TYPES[name.removeprefix(ALIAS)], channels[depth]
        # The level above's channels go into the first residual block, then the level's own
        inputs = [channels[max(depth - 1, 0)]] + [out] * (config.layers_per_block - 1)
        resnets = tuple(_widths(config, kind, width, out) for width in inputs)
        levels.append(_level(config, kind, depth, resnets, out, depth < len(channels) - 1))
    return levels


def up_levels(config: "UNetConfig") -> list[Level]:
    """Return the blocks on the way up, from the smallest images to the largest."""
    channels = config.block_out_channels
    levels = []
    for i, name in enumerate(config.up_block_types):
        kind, depth = UP_TYPES[name.removeprefix(ALIAS)], len(channels) - 1 - i
        out, above = channels[depth], channels[max(depth - 1, 0)]
        below = channels[min(depth + 1, len(channels) - 1)]
        if kind.family == "k":
            # Lowest of all, and as wide as the embedding of t: it takes no skip connection
            starts = kind.attends and above == out == time_dim(config)
            resnets = _k_up_widths(kind, config.layers_per_block, out, above, starts)
        else:
            starts = False
            # One resnet more than on the way down: for the skip connection of the downsampling
            # above, or of the first convolution
            count = config.layers_per_block
            pairs = zip([below] + [out] * count, [out] * count + [above], strict=True)
            resnets = tuple(_widths(config, kind, x, out, skip) for x, skip in pairs)
        level = _level(config, kind, depth, resnets, out, depth > 0)
        levels.append(level._replace(takes_skips=not starts))
    return levels


def _level(
    config: "UNetConfig",
    kind: BlockType,
    depth: int,
    resnets: tuple[Widths, ...],
    out: int,
    resamples: bool,
) -> Level:
    attention_groups = MOST_GROUPS if kind.family == "skip" else config.norm_num_groups or 0
    resampler = _widths(config, kind, out, out)
    head_dim = config.head_dim(out)
    return Level(kind, depth, resnets, attention_groups, head_dim, resamples, resampler)


def _widths(config: "UNetConfig", kind: BlockType, x: int, out: int, skip: int = 0) -> Widths:
    """The widths of a residual block of x + skip channels."""
    match kind.family:
        case "plain":
            groups = config.norm_num_groups or 0, config.norm_num_groups or 0
        case "skip":
            quarter = (x + skip) // 4
            if kind.name == "AttnSkipUpBlock2D" and skip:
                quarter = x + skip // 4  # as diffusers has it
            groups = min(quarter, MOST_GROUPS), min(out // 4, MOST_GROUPS)
        case "k":
            groups = (x + skip) // K_GROUP, out // K_GROUP
    return Widths(x + skip, out, out, groups)


def _k_up_widths(
    kind: BlockType, count: int, out: int, above: int, starts: bool
) -> tuple[Widths, ...]:
    """The widths of a K block on the way up, whose last layer gives the next level's channels."""
    first = out if starts else 2 * out
    inputs = [first] + [out] * (count - 1)
    groups = [(width // K_GROUP, out // K_GROUP) for width in inputs]
    widths = [Widths(width, out, out, g) for width, g in zip(inputs, groups, strict=True)]
    inner = out if kind.attends else above
    widths[-1] = widths[-1]._replace(channels=inner, out_channels=above)
    return tuple(widths)


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


def gives_skips(level: Level) -> bool:
    """Do the layers of a block on the way down give skip connections?"""
    return level.resamples or not (level.kind.family == "k" and level.kind.attends)


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
