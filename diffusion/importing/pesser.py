"""The paper's PyTorch re-release, pesser/pytorch_diffusion: its network under the names of the
paper's own code, as also ermongroup/ddim and SDEdit have it.

Everything of the network but the size of its images follows from its tensors.
"""

import argparse
import re

from torch import Tensor

from diffusion.checkpoint import shapes
from diffusion.config import ProcessConfig, Schedule, Variance
from diffusion.importing.errors import ForeignError
from diffusion.importing.project import Imported
from diffusion.importing.renaming import Shapes, Table, layer, layers, network_in, rename, size
from diffusion.unet_config import MAX_LEVELS, UNetConfig

ATTENTION_SIDE = 16
"""Pixels a side of the lowest feature map that attends, in all of the paper's models."""
SMALL_SIDE = 32
"""Pixels of an image's side up to which the paper's models have sigma^2 = beta_t."""
SCHEDULES: dict[str, Schedule] = {"linear": "linear", "quad": "scaled_linear"}
"""Our name for each of theirs."""
RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "temb_proj": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def read(tensors: dict[str, Tensor], args: argparse.Namespace) -> Imported:
    """Read a state dict of theirs; see `diffusion.importing.project.Read`."""
    tensors = network_in(tensors, "conv_in.weight", args.part)
    network = _network(tensors, args.image_size)
    side = max(network.image_size)
    papers: Variance = "fixed_large" if side <= SMALL_SIDE else "fixed_small"
    process = ProcessConfig(
        num_timesteps=args.timesteps,
        schedule=SCHEDULES[args.schedule],
        beta_start=args.beta_start,
        beta_end=args.beta_end,
        variance=args.variance or papers,
    )
    expected = shapes(network)
    named = rename(tensors, _table(network, expected), expected, lambda _: "")
    return Imported(network, process, named)


def _network(tensors: dict[str, Tensor], image_size: int | None) -> UNetConfig:
    levels = _count(tensors, r"down\.(\d+)\.")
    layers = _count(tensors, r"down\.0\.block\.(\d+)\.")
    widths = tuple(size(tensors, f"down.{i}.block.0.conv1.weight") for i in range(levels))
    attends = [f"down.{level}.attn.0.q.weight" in tensors for level in range(levels)]
    if image_size is None:
        if not any(attends):
            raise ForeignError("--image-size: missing, and no attention in the file tells it")
        image_size = ATTENTION_SIDE * 2 ** max(i for i in range(levels) if attends[i])
    return UNetConfig(
        sample_size=image_size,
        in_channels=size(tensors, "conv_in.weight", 1),
        out_channels=size(tensors, "conv_out.weight"),
        block_out_channels=widths,
        layers_per_block=layers,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
        attention_head_dim=None,  # one head
        norm_eps=1e-6,
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
    )


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    """One more than the largest number in the names that begin with the pattern, within bounds."""
    found = [int(match[1][:4]) for name in tensors if (match := re.match(pattern, name))]
    return min(max(found, default=0), 2 * MAX_LEVELS) + 1


def _table(config: UNetConfig, expected: Shapes) -> Table:
    """Say which of our tensors each of theirs is; they count levels from the top both ways."""
    levels = len(config.block_out_channels)
    table = {
        **layer("temb.dense.0", "time_embedding.linear_1"),
        **layer("temb.dense.1", "time_embedding.linear_2"),
        **layer("conv_in", "conv_in"),
        **layers("mid.block_1", "mid_block.resnets.0", RESNET, expected),
        **layers("mid.attn_1", "mid_block.attentions.0", ATTENTION, expected),
        **layers("mid.block_2", "mid_block.resnets.1", RESNET, expected),
        **layer("norm_out", "conv_norm_out"),
        **layer("conv_out", "conv_out"),
    }
    for i in range(levels):
        up = levels - 1 - i
        for theirs, ours, count in (
            (f"down.{i}", f"down_blocks.{i}", config.layers_per_block),
            (f"up.{up}", f"up_blocks.{i}", config.layers_per_block + 1),
        ):
            for j in range(count):
                resnet, attention = f"{ours}.resnets.{j}", f"{ours}.attentions.{j}"
                table |= layers(f"{theirs}.block.{j}", resnet, RESNET, expected)
                table |= layers(f"{theirs}.attn.{j}", attention, ATTENTION, expected)
        if i < levels - 1:
            table |= layer(f"down.{i}.downsample.conv", f"down_blocks.{i}.downsamplers.0.conv")
            table |= layer(f"up.{up}.upsample.conv", f"up_blocks.{i}.upsamplers.0.conv")
    return table
