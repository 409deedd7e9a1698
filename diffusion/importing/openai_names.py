"""The tensors of openai/improved-diffusion and openai/guided-diffusion, and ours."""

from torch import Tensor

from diffusion.importing.renaming import Shapes, Table, layer, layers
from diffusion.unet_config import UNetConfig

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def table(config: UNetConfig, shapes: Shapes) -> Table:
    """Say which of our tensors each of theirs is; they count all blocks one after the other."""
    made = {
        **layer("time_embed.0", "time_embedding.linear_1"),
        **layer("time_embed.2", "time_embedding.linear_2"),
        **layer("input_blocks.0.0", "conv_in"),
        **_resnet("middle_block.0", "mid_block.resnets.0", shapes),
        **_attention("middle_block.1", "mid_block.attentions.0"),
        **_resnet("middle_block.2", "mid_block.resnets.1", shapes),
        **layer("out.0", "conv_norm_out"),
        **layer("out.2", "conv_out"),
    }
    if config.num_class_embeds is not None:
        made["label_emb.weight"] = ("class_embedding.weight",)
    return made | _down(config, shapes) | _up(config, shapes)


def _down(config: UNetConfig, shapes: Shapes) -> Table:
    made: Table = {}
    block = 1
    for level, kind in enumerate(config.down_block_types):
        ours = f"down_blocks.{level}"
        for i in range(config.layers_per_block):
            made |= _layer(f"input_blocks.{block}", ours, i, kind, shapes)
            block += 1
        if level < len(config.down_block_types) - 1:
            theirs = f"input_blocks.{block}.0"
            if config.downsample_type == "resnet":
                made |= _resnet(theirs, f"{ours}.downsamplers.0", shapes)
            else:
                made |= layer(f"{theirs}.op", f"{ours}.downsamplers.0.conv")
            block += 1
    return made


def _up(config: UNetConfig, shapes: Shapes) -> Table:
    made: Table = {}
    block = 0
    for level, kind in enumerate(config.up_block_types):
        ours = f"up_blocks.{level}"
        for i in range(config.layers_per_block + 1):
            made |= _layer(f"output_blocks.{block}", ours, i, kind, shapes)
            block += 1
        if level < len(config.up_block_types) - 1:  # after the last layer, in the same block
            theirs = f"output_blocks.{block - 1}.{2 if kind.startswith('Attn') else 1}"
            if config.upsample_type == "resnet":
                made |= _resnet(theirs, f"{ours}.upsamplers.0", shapes)
            else:
                made |= layer(f"{theirs}.conv", f"{ours}.upsamplers.0.conv")
    return made


def _layer(theirs: str, ours: str, i: int, kind: str, shapes: Shapes) -> Table:
    """A resnet, and its attention where the level has it."""
    made = _resnet(f"{theirs}.0", f"{ours}.resnets.{i}", shapes)
    if kind.startswith("Attn"):
        made |= _attention(f"{theirs}.1", f"{ours}.attentions.{i}")
    return made


def _resnet(theirs: str, ours: str, shapes: Shapes) -> Table:
    return layers(theirs, ours, RESNET, shapes)


def _attention(theirs: str, ours: str) -> Table:
    return {
        **layer(f"{theirs}.norm", f"{ours}.group_norm"),
        **layer(f"{theirs}.qkv", f"{ours}.to_q", f"{ours}.to_k", f"{ours}.to_v"),
        **layer(f"{theirs}.proj_out", f"{ours}.to_out.0"),
    }


def split_qkv(tensor: Tensor, head_dim: int, *, new_order: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Take apart the weight (3C, C), or the bias (3C,), that makes q, k and v.

    In the new order all of q comes first, then k and v; in the old one each head's q, k and v.
    """
    if new_order:
        q, k, v = tensor.chunk(3)
        return q, k, v
    C = tensor.shape[0] // 3
    by_head = tensor.reshape(-1, 3, head_dim, *tensor.shape[1:])  # (heads, 3, head_dim, …)
    q, k, v = (by_head[:, i].reshape(C, *tensor.shape[1:]) for i in range(3))
    return q, k, v
