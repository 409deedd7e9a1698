"""openai/improved-diffusion and openai/guided-diffusion (ADM): one network, which grew.

A file has tensors alone, so the flags that the model was trained with say the rest, as they do in
the scripts there. Where a tensor tells the same as a flag, the two are compared.
"""

import argparse
import re
from itertools import compress
from typing import Literal

import torch
from torch import Tensor

from diffusion.checkpoint import shapes
from diffusion.config import ProcessConfig, Variance
from diffusion.fields import from_dict, to_dict
from diffusion.importing.errors import ForeignError
from diffusion.importing.openai_names import split_qkv, table
from diffusion.importing.project import Imported
from diffusion.importing.renaming import network_in, rename, size
from diffusion.networks.adm_config import ADMConfig
from diffusion.unet import timestep_embedding
from diffusion.unet_config import UNetConfig

CHANNEL_MULT = {
    32: "1,2,2,2",
    64: "1,2,3,4",
    128: "1,1,2,3,4",
    256: "1,1,2,2,4,4",
    512: "0.5,1,1,2,2,4,4",
}
"""What --channel_mult is there by the size of the images."""
RESCALED_T = 1000
"""With --rescale_timesteps the network is told t * 1000 / T."""
RESIZING = re.compile(r"input_blocks\.(\d{1,4})\.0\.op\.")
"""The convolution between two levels, after the residual blocks of the first."""
HINTS = {
    r"label_emb": "--class_cond",
    r"out\.": "--learn_sigma, --num_channels",
    r"time_embed|input_blocks\.0\.": "--num_channels",
    r".*\.(op|conv)\.": "--resblock_updown, --num_res_blocks, --channel_mult",
    r".*\.(qkv|norm|proj_out)\.": "--attention_resolutions, --num_res_blocks",
}
"""The flags that decide about a tensor, by its name."""
OTHER_FLAGS = "--num_res_blocks, --channel_mult, --attention_resolutions"


def read(tensors: dict[str, Tensor], args: argparse.Namespace) -> Imported:
    """Read a state dict of theirs; see `diffusion.importing.project.Read`."""
    process = _process(args)
    _check_no_latents(tensors)
    tensors = network_in(tensors, "input_blocks.0.0.weight", args.part)
    _check_kind(tensors)
    _check_flags(tensors, args)
    network = _network(tensors, args)
    new_order = getattr(args, "use_new_attention_order", False)

    def split(tensor: Tensor) -> tuple[Tensor, ...]:
        head_dim = network.head_dim(tensor.shape[0] // 3)
        return split_qkv(tensor, head_dim, new_order=new_order)

    expected = shapes(network)
    named = rename(tensors, table(network, expected), expected, _hint, split)
    if network.time_embedding_type == "learned":
        named["time_proj.weight"] = _rescaled_embedding(args.diffusion_steps, args.num_channels)
    return Imported(network, process, named)


def _check_no_latents(tensors: dict[str, Tensor]) -> None:
    """Raise ForeignError for a latent diffusion model, whose network has the same names."""
    if any(name.split(".")[0] == "first_stage_model" for name in tensors):
        raise ForeignError(
            "it has a first_stage_model: a latent diffusion model, whose network makes no images"
        )


def _check_kind(tensors: dict[str, Tensor]) -> None:
    """Raise ForeignError unless the tensors are of a network that makes images of noise alone."""
    if not any(name.startswith("output_blocks.") for name in tensors):
        raise ForeignError("it has no output_blocks: a classifier, which makes no images")
    if size(tensors, "input_blocks.0.0.weight", 1) == 6:
        raise ForeignError(
            "the network takes 6 channels: a super-resolution model, which is told a smaller image "
            "and cannot be imported"
        )


def _check_flags(tensors: dict[str, Tensor], args: argparse.Namespace) -> None:
    """Raise ForeignError where a flag says something else than a tensor."""
    found = {
        "num_channels": size(tensors, "time_embed.0.weight", 1),
        "class_cond": "label_emb.weight" in tensors,
        "learn_sigma": size(tensors, "out.2.weight")
        == 2 * size(tensors, "input_blocks.0.0.weight", 1),
        "use_scale_shift_norm": size(tensors, "input_blocks.1.0.emb_layers.1.weight")
        == 2 * size(tensors, "input_blocks.1.0.in_layers.2.weight"),
    }
    resizing = [int(m[1]) for name in tensors if (m := RESIZING.match(name))]
    if resizing:
        found |= {"resblock_updown": False, "num_res_blocks": min(resizing) - 1}
    for flag, value in found.items():
        given = getattr(args, flag, value)
        if given != value:
            raise ForeignError(f"--{flag}: {given} is not what the file's tensors say: {value}")


def _network(tensors: dict[str, Tensor], args: argparse.Namespace) -> UNetConfig:
    widths = tuple(int(args.num_channels * factor) for factor in _mult(args))
    attends = _attends(args, len(widths))
    updown = getattr(args, "resblock_updown", False)
    resampling: Literal["resnet", "conv"] = "resnet" if updown else "conv"
    in_channels = size(tensors, "input_blocks.0.0.weight", 1)
    rescaled = args.rescale_timesteps and args.diffusion_steps != RESCALED_T
    head_dim, heads = _heads(args, {*compress(widths, attends), widths[-1]})
    narrow = widths[0] != args.num_channels  # the embedding of t has num_channels all the same
    unet = UNetConfig(
        sample_size=args.image_size,
        in_channels=in_channels,
        out_channels=in_channels * (1 + args.learn_sigma),
        block_out_channels=widths,
        layers_per_block=args.num_res_blocks,
        down_block_types=_blocks("Down", attends, updown),
        up_block_types=_blocks("Up", attends[::-1], updown),
        downsample_type=resampling,
        upsample_type=resampling,
        attention_head_dim=head_dim,
        attn_norm_num_groups=32,
        resnet_time_scale_shift="scale_shift" if args.use_scale_shift_norm else "default",
        num_class_embeds=size(tensors, "label_emb.weight") if args.class_cond else None,
        time_embedding_type="learned" if rescaled else "positional",
        time_embedding_dim=4 * args.num_channels if narrow else None,
        num_train_timesteps=args.diffusion_steps if rescaled else None,
    )
    if heads is None and not narrow:
        return unet
    more = {"num_attention_heads": heads, "time_proj_width": args.num_channels if narrow else None}
    return from_dict(ADMConfig, {**to_dict(unet), **more})


def _attends(args: argparse.Namespace, levels: int) -> list[bool]:
    """Whether each level attends, by the side of its feature maps."""
    factors = [args.image_size // side for side in _numbers("attention_resolutions", args)]
    return [2**level in factors for level in range(levels)]


def _blocks(way: Literal["Down", "Up"], attends: list[bool], updown: bool) -> tuple[str, ...]:
    """The classes of the levels' blocks on the way down, or up."""
    without = f"Resnet{way}sampleBlock2D" if updown else f"{way}Block2D"
    return tuple(f"Attn{way}Block2D" if attend else without for attend in attends)


def _mult(args: argparse.Namespace) -> list[float]:
    """The factors of each level's channels."""
    if not args.channel_mult and args.image_size not in CHANNEL_MULT:
        known = ", ".join(map(str, CHANNEL_MULT))
        raise ForeignError(
            f"--channel_mult: missing; only of images of {known} pixels does that project know it"
        )
    text = args.channel_mult or CHANNEL_MULT[args.image_size]
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4})?(,\d{1,4}(\.\d{1,4})?)*", text):
        raise ForeignError(f"--channel_mult: {text!r} is not allowed; it must be as 1,2,3,4")
    return [float(factor) for factor in text.split(",")]


def _numbers(flag: str, args: argparse.Namespace) -> list[int]:
    text = getattr(args, flag)
    if not re.fullmatch(r"[1-9]\d{0,4}(,[1-9]\d{0,4})*", text):
        raise ForeignError(f"--{flag}: {text!r} is not allowed; it must be numbers, as 16,8")
    return [int(number) for number in text.split(",")]


def _heads(args: argparse.Namespace, widths: set[int]) -> tuple[int | None, int | None]:
    """The channels of a head, where these are the same in attentions of all widths, and else the
    number of heads; None and None: one head."""
    head_channels = getattr(args, "num_head_channels", -1)
    if head_channels != -1:
        odd = [width for width in sorted(widths) if head_channels < 1 or width % head_channels]
        if odd:
            raise ForeignError(f"--num_head_channels: {head_channels} does not divide {odd[0]}")
        return int(head_channels), None
    heads = args.num_heads
    if args.num_heads_upsample not in (-1, heads):
        raise ForeignError(
            f"--num_heads_upsample: {args.num_heads_upsample} is not allowed; our network has as "
            f"many heads on the way up as down, {heads}"
        )
    if heads < 1 or any(width % heads for width in widths):
        shown = ", ".join(map(str, sorted(widths)))
        raise ForeignError(f"--num_heads: {heads} does not divide all of {shown} channels")
    if heads == 1:
        return None, None
    return (None, heads) if len(widths) > 1 else (int(min(widths) // heads), None)


def _process(args: argparse.Namespace) -> ProcessConfig:
    fixed: Variance = "fixed_small" if args.sigma_small else "fixed_large"
    return ProcessConfig(
        num_timesteps=args.diffusion_steps,
        schedule=args.noise_schedule,  # as ours, linear is 1e-4 to 0.02, scaled by 1000 / T
        variance="learned_range" if args.learn_sigma else fixed,
        prediction="x_0" if args.predict_xstart else "eps",
    )


def _rescaled_embedding(num_timesteps: int, dim: int) -> Tensor:
    """Return the rows (T, dim) that a "learned" embedding of t needs to embed t * 1000 / T."""
    t = torch.arange(num_timesteps).float() * (RESCALED_T / num_timesteps)
    return timestep_embedding(t, dim, freq_shift=0, flip_sin_to_cos=True)


def _hint(name: str) -> str:
    flags = next((flags for form, flags in HINTS.items() if re.match(form, name)), OTHER_FLAGS)
    return f"; see to {flags}"
