"""Random configurations of diffusers' UNet2DModel, and how many of these networks are equal here.

    python -m tests.unet_configs --number 500 --seed 0

Each field is drawn on its own, so that most draws are no network: diffusers cannot build or run
them. Of those that it can, the saved network is opened here as a checkpoint is, and must give the
outputs of diffusers, and where it is refused the refusal must be one that the documentation lists.
"""

import argparse
import copy
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils import logging
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.checkpoint import CheckpointError, open_checkpoint
from diffusion.checkpoint.configs import read_network
from diffusion.fields import ConfigError
from diffusion.networks.registry import make_network
from diffusion.unet_config import UNetConfig

Fields = dict[str, Any]
TOLERANCE = 1e-5
"""Of a difference, relative to the largest number of the output, or to 1 if that is larger."""
TIMESTEPS = (1, 17, 999)
LABELS = (1, 4, 2)
EQUAL, ROUNDED = "equal", "differs by rounding alone"
"""How the outcome of a network that agrees begins."""
FAMILIES = (
    (
        ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "UNetResDownBlock2D"),
        ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "UNetResUpBlock2D"),
    ),
    (("SkipDownBlock2D", "AttnSkipDownBlock2D"), ("SkipUpBlock2D", "AttnSkipUpBlock2D")),
    (("KDownBlock2D", "KCrossAttnDownBlock2D"), ("KUpBlock2D", "KCrossAttnUpBlock2D")),
    (
        ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        ("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
    ),
    (
        ("CrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D"),
        ("CrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D"),
    ),
)
"""All block types of diffusers, on the way down and on the way up."""


def random_fields(draw: random.Random) -> Fields:
    """All fields of a UNet2DModel: each is drawn on its own, but for the block types."""
    levels = draw.choice([1, 2, 2, 3, 3])
    factor = 2 ** (levels - 1)
    widths = draw.choice([(8, 16, 24), (16, 32, 48), (32,), (32, 64, 96)])
    return {
        "sample_size": (factor * draw.choice([1, 2, 4]), factor * draw.choice([2, 3, 4])),
        "in_channels": (channels := draw.choice([1, 2, 3, 3, 3, 3])),
        "out_channels": channels * draw.choice([1, 1, 1, 2]),
        "center_input_sample": draw.random() < 0.2,
        "time_embedding_type": draw.choice(["positional", "positional", "fourier", "learned"]),
        "time_embedding_dim": draw.choice([None, None, 32, 50]),
        "freq_shift": draw.choice([0, 1]),
        "flip_sin_to_cos": draw.random() < 0.5,
        **_blocks(draw, levels),
        "mid_block_type": draw.choice(["UNetMidBlock2D"] * 4 + [None]),
        "block_out_channels": tuple(draw.choice(widths) for _ in range(levels)),
        "layers_per_block": draw.choice([1, 1, 2, 3]),
        "mid_block_scale_factor": draw.choice([1.0, 1.4]),
        "downsample_padding": draw.choice([0, 1]),
        "downsample_type": draw.choice(["conv", "resnet", None]),
        "upsample_type": draw.choice(["conv", "resnet", None]),
        "dropout": draw.choice([0.0, 0.1]),
        "act_fn": draw.choice(["silu", "swish", "mish", "gelu", "relu"]),
        "attention_head_dim": draw.choice([None, 3, 4, 8, 16, 40]),
        "norm_num_groups": draw.choice([None, 2, 4, 8, 8, 16, 32]),
        "attn_norm_num_groups": draw.choice([None, None, 2, 8]),
        "norm_eps": draw.choice([1e-5, 1e-6]),
        "resnet_time_scale_shift": draw.choice(["default", "scale_shift"]),
        "add_attention": draw.random() < 0.8,
        "class_embed_type": draw.choice([None, None, None, "timestep", "identity"]),
        "num_class_embeds": draw.choice([None, 5]),
        "num_train_timesteps": draw.choice([None, 1000, 1000]),
    }


def _blocks(draw: random.Random, levels: int) -> Fields:
    """A block type for each level: any, or, since of those few are networks, of one family."""
    family = draw.choice([*FAMILIES[:3], None])
    sides = zip(*(FAMILIES if family is None else (family,)), strict=True)
    down, up = ([name for names in side for name in names] for side in sides)
    return {
        "down_block_types": tuple(draw.choice(down) for _ in range(levels)),
        "up_block_types": tuple(draw.choice(up) for _ in range(levels)),
    }


def network_fields(seed: int, family: int | None = None) -> Fields:
    """Draw until the fields are those of a network, by what is known here; perhaps of a family."""
    draw = random.Random(seed)
    while True:
        fields = random_fields(draw)
        names = {*fields["down_block_types"], *fields["up_block_types"]}
        is_of_family = family is None or names <= {*FAMILIES[family][0], *FAMILIES[family][1]}
        if is_of_family and is_network_here(fields):
            return fields


def is_network_here(fields: Fields) -> bool:
    """Is the network among those that can be built here?"""
    try:
        UNetConfig(**fields)
    except ConfigError:
        return False
    return True


class Theirs(NamedTuple):
    """A network of diffusers, and what it makes of `inputs`."""

    network: UNet2DModel
    outputs: Tensor


class Draw(NamedTuple):
    """What became of one random configuration."""

    fields: Fields
    outcome: str
    is_network: bool  # diffusers can build and run it
    agrees: bool  # where it is a network, its outputs are equal here; else it is refused


def build(fields: Fields) -> UNet2DModel:
    """Build diffusers' network with random weights; those of the norms are not 0 and 1."""
    torch.manual_seed(0)
    network = UNet2DModel(**fields).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and not name.startswith("time_proj"):
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return network


def inputs(config: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Make x_t, t, and labels or None, for a configuration of ours or of diffusers."""
    generator = torch.Generator().manual_seed(1)
    rows, size = len(TIMESTEPS), config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    x_t = torch.randn(rows, config.in_channels, height, width, generator=generator)
    label: Tensor | None = torch.tensor(LABELS)
    if config.class_embed_type == "identity":
        dim = config.time_embedding_dim or 4 * config.block_out_channels[0]
        label = torch.randn(rows, dim, generator=generator)
    elif config.class_embed_type is None and config.num_class_embeds is None:
        label = None
    return x_t, torch.tensor(TIMESTEPS), label


def in_diffusers(fields: Fields) -> Theirs | str:
    """Build and run diffusers' network, or say why that cannot be done."""
    step = "build"
    try:
        network = build(fields)
        step = "run"
        with torch.no_grad():
            outputs: Tensor = network(*inputs(network.config)).sample
    except Exception as error:
        return f"diffusers cannot {step} it: {type(error).__name__}"
    x_t = inputs(network.config)[0]
    shape = (len(x_t), fields["out_channels"], *x_t.shape[2:])
    return Theirs(network, outputs) if outputs.shape == shape else "diffusers gives no image"


def here(theirs: Theirs, folder: Path, prediction: str = "epsilon") -> str:
    """Save diffusers' network to `folder`, open it here, and compare; say what came of it."""
    fields = theirs.network.config
    learned = fields.out_channels == 2 * fields.in_channels
    variance = "learned_range" if learned else "fixed_small"
    scheduler = DDPMScheduler(prediction_type=prediction, variance_type=variance)
    DDPMPipeline(theirs.network, scheduler).save_pretrained(folder)
    served = "and served"
    try:
        ours = open_checkpoint(folder).load()
    except CheckpointError as error:
        served = f"but not served: {str(error).partition('config.json: ')[2]}"
        try:
            ours = make_network(read_network(folder / "unet" / "config.json")).eval()
        except CheckpointError as refusal:
            return f"refused: {refusal}"
        ours.load_state_dict(theirs.network.state_dict())
    with torch.no_grad():
        outputs = ours(*inputs(fields))
    if agrees(outputs, theirs.outputs):
        return f"{EQUAL}, {served}"
    # Rounding is amplified where a norm's groups are of two numbers or so; not so in float64
    is_equal = agrees(in_float64(ours, fields), in_float64(theirs.network, fields))
    return f"{ROUNDED}, {served}" if is_equal else f"differs, {served}"


@torch.no_grad()
def in_float64(network: nn.Module, config: Any) -> Tensor:
    """Compute the outputs of a network, of ours or of diffusers, in float64."""
    network = copy.deepcopy(network).double()
    for layer in network.modules():
        if isinstance(layer, nn.Linear):  # t's embedding comes in float32
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    x_t, t, label = inputs(config)
    if label is not None and label.is_floating_point():
        label = label.double()
    made = network(x_t.double(), t, label)
    outputs: Tensor = made if isinstance(made, Tensor) else made.sample
    return outputs


def agrees(ours: Tensor, theirs: Tensor) -> bool:
    """Are these outputs equal within the tolerance?"""
    scale = max(1.0, float(theirs.abs().max()))
    return float((ours - theirs).abs().max()) <= TOLERANCE * scale


def draws(seed: int) -> Iterator[Draw]:
    """Draw configurations, and see what becomes of each in diffusers and here."""
    draw = random.Random(seed)
    while True:
        fields = random_fields(draw)
        prediction = draw.choice(["epsilon", "sample", "v_prediction"])
        theirs = in_diffusers(fields)
        if isinstance(theirs, str):
            yield Draw(fields, theirs, is_network=False, agrees=not is_network_here(fields))
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcome = here(theirs, Path(folder), prediction)
        yield Draw(fields, outcome, is_network=True, agrees=outcome.startswith((EQUAL, ROUNDED)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=500, help="networks to compare")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    networks, others, blocks = Counter[str](), Counter[str](), Counter[str]()
    equal = 0
    made = draws(arguments.seed)
    with tqdm(total=arguments.number) as bar:
        while networks.total() < arguments.number:
            draw = next(made)
            (networks if draw.is_network else others)[draw.outcome] += 1
            if draw.is_network:
                equal += draw.outcome.startswith(EQUAL)
                blocks.update({*draw.fields["down_block_types"], *draw.fields["up_block_types"]})
                bar.update()
            if not draw.agrees:
                tqdm.write(f"not as here: {draw.outcome}\n    {draw.fields}")
    print(f"{equal / networks.total():.1%} of {networks.total()} networks are equal to diffusers'")
    for title, counts in (("networks", networks), ("networks with", blocks), ("others", others)):
        print(f"\n{title}:")
        for name, count in counts.most_common():
            print(f"{count:6} {name}")


if __name__ == "__main__":
    main()
