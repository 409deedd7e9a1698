"""The blocks of a U-Net, level by level: of which widths their layers are.

These are the blocks of which diffusers' `UNet2DModel` can be built, in three families. The paper's
are plain; those of NCSN++ (Song et al. 2021) pass the image on beside its features; those of
k-diffusion, whose names begin with K, are told t by all their norms.

The standard library only, so that flags and settings can be checked without loading PyTorch.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

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


def gives_skips(level: Level) -> bool:
    """Do the layers of a block on the way down give skip connections?"""
    return level.resamples or not (level.kind.family == "k" and level.kind.attends)
