"""The flags of `ddpm import`, for each project. Built without PyTorch, so that `--help` answers at
once."""

import argparse
from typing import Any

from diffusion.flags import path

# One line for a flag and its type, and the next for its help:
# fmt: off


def add_projects(projects: Any) -> None:
    """Add a command for each project to argparse's sub-parsers `projects`."""
    add_pesser(_project(
        projects, "pytorch-diffusion",
        "The paper's models as pesser/pytorch_diffusion released them: CIFAR-10, LSUN, CelebA-HQ.",
        "ema_diffusion_cifar10_model-790000.ckpt --out models/cifar10-paper",
    ))
    add_openai(_project(
        projects, "improved-diffusion",
        "Models of openai/improved-diffusion, by the flags that they were trained with.",
        "cifar10_uncond_50M_500K.pt --out models/iddpm --image_size 32 --num_res_blocks 3 "
        "--learn_sigma True --diffusion_steps 4000 --noise_schedule cosine",
    ), guided=False)
    add_openai(_project(
        projects, "guided-diffusion",
        "Models of openai/guided-diffusion (ADM), by the flags that they are sampled with.",
        "lsun_bedroom.pt --out models/bedroom --image_size 256 --num_channels 256 "
        "--num_head_channels 64 --attention_resolutions 32,16,8 --resblock_updown True "
        "--learn_sigma True",
    ), guided=True)
    add_lucidrains(_project(
        projects, "denoising-diffusion-pytorch",
        "Models of lucidrains/denoising-diffusion-pytorch, from release 1.8.0 on.",
        "results/model-100.pt --image-size 128 --out models/flowers",
    ))
    add_edm(_project(
        projects, "edm",
        "DDPM++ models of NVlabs/edm, whose state dict was saved from their pickles.",
        "edm-cifar10-32x32-cond-vp.pt --precond edm --out models/cifar10-edm",
    ))


def _project(projects: Any, name: str, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = projects.add_parser(
        name,
        help=description.splitlines()[0],
        description=description,
        epilog=f"example:\n  ddpm import {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=path,
        help="file of torch.save, with a state dict, or a .safetensors file")
    add = parser.add_argument_group("the output").add_argument
    add("--out", type=path, required=True, metavar="FOLDER", help="folder to write")
    add("--force", action="store_true",
        help="replace a checkpoint that is there already (default: refuse to)")
    add("--name", help="name of the model on its card (default: the folder's)")
    add("--data", help="what the model was trained on, for its card (default: nothing is said)")
    return parser


def _add_part(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", metavar="NAME",
        help="which network of a file with several, by what comes before the names of its tensors, "
        "as ema (default: the only one)")


def add_pesser(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what a file of pesser/pytorch_diffusion does not tell."""
    _add_part(parser)
    add = parser.add_argument_group("what the file does not tell").add_argument
    add("--image-size", type=int, metavar="PIXELS",
        help="side of the images (default: such that the lowest attention has 16 x 16 positions, "
        "as in all of the paper's models)")
    add("--timesteps", type=int, default=1000, metavar="COUNT",
        help="steps T of the chain (default: %(default)s)")
    add("--schedule", choices=("linear", "quad"), default="linear",
        help="how the betas rise: themselves, or their square roots, along a line "
        "(default: %(default)s)")
    add("--beta-start", type=float, default=1e-4, metavar="BETA",
        help="the first beta (default: %(default)s)")
    add("--beta-end", type=float, default=0.02, metavar="BETA",
        help="the last beta (default: %(default)s)")
    add("--variance", choices=("fixed_small", "fixed_large"),
        help="sigma^2 of Algorithm 2 (default: the paper's, fixed_large for images of 32 pixels, "
        "as CIFAR-10's, and fixed_small for larger ones)")


def add_openai(parser: argparse.ArgumentParser, *, guided: bool) -> None:
    """Add the flags of openai/improved-diffusion, or of openai/guided-diffusion, with the names and
    defaults that they have there."""
    _add_part(parser)
    _add_openai_network(parser, guided=guided)
    _add_openai_process(parser, guided=guided)
    add = parser.add_argument_group("taken, and without effect here").add_argument
    for name in ("dropout", "timestep_respacing"):
        add(f"--{name}", default=None, help="of training, or of sampling (default: not given)")
    for name in ("use_checkpoint", "use_fp16", "use_kl", "rescale_learned_sigmas"):
        _add_switch(add, name, None, "of training")


def _add_openai_network(parser: argparse.ArgumentParser, *, guided: bool) -> None:
    add = parser.add_argument_group("the network, by the flags of that project").add_argument
    add("--image_size", type=int, default=64, metavar="PIXELS",
        help="side of the images (default: %(default)s)")
    add("--num_channels", type=int, default=128, metavar="COUNT",
        help="channels that --channel_mult multiplies (default: %(default)s)")
    add("--channel_mult", default="", metavar="LIST",
        help="channels of each level, as 1,2,3,4 (default: by the size of the images)")
    add("--num_res_blocks", type=int, default=2, metavar="COUNT",
        help="residual blocks of a level (default: %(default)s)")
    add("--attention_resolutions", default="16,8", metavar="LIST",
        help="sides of the feature maps that attend (default: %(default)s)")
    add("--num_heads", type=int, default=4, metavar="COUNT",
        help="heads of each attention (default: %(default)s)")
    add("--num_heads_upsample", type=int, default=-1, metavar="COUNT",
        help="heads on the way up (default: %(default)s, as many)")
    if guided:
        add("--num_head_channels", type=int, default=-1, metavar="COUNT",
            help="channels of a head, in place of --num_heads (default: %(default)s, not used)")
        _add_switch(add, "use_new_attention_order", False, "q, k and v come before heads")
        _add_switch(add, "resblock_updown", False, "residual blocks change the size")
    _add_switch(add, "use_scale_shift_norm", True, "t scales and shifts a norm")
    _add_switch(add, "class_cond", False, "the network is told a class")
    _add_switch(add, "learn_sigma", False, "the network gives a variance too")


def _add_openai_process(parser: argparse.ArgumentParser, *, guided: bool) -> None:
    add = parser.add_argument_group("the process, by the flags of that project").add_argument
    add("--diffusion_steps", type=int, default=1000, metavar="COUNT",
        help="steps T of the chain (default: %(default)s)")
    add("--noise_schedule", choices=("linear", "cosine"), default="linear",
        help="how the betas rise (default: %(default)s)")
    _add_switch(add, "predict_xstart", False, "the network predicts x_0")
    _add_switch(add, "sigma_small", False, "sigma^2 is beta~_t, unless it is learned")
    _add_switch(add, "rescale_timesteps", not guided, "the network is told 1000 t / T")


def _add_switch(add: Any, name: str, default: bool | None, meaning: str) -> None:
    add(f"--{name}", type=_switch, nargs="?", const=True, default=default, metavar="True|False",
        help=f"{meaning} (default: {'not given' if default is None else default})")


def add_lucidrains(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what a file of lucidrains/denoising-diffusion-pytorch does not tell."""
    add = parser.add_argument_group("what the file does not tell").add_argument
    add("--image-size", type=int, required=True, metavar="PIXELS",
        help="side of the images: GaussianDiffusion's image_size")
    add("--weights", choices=("ema", "model"),
        help="the averaged weights, or those of the last step (default: ema, where the file has "
        "it)")
    add("--objective", choices=("pred_noise", "pred_x0", "pred_v"),
        help="what the network predicts (default: as the file's loss_weight tells)")
    add("--heads", type=int, default=4, metavar="COUNT",
        help="Unet's attn_heads; files from release 1.9.0 on tell it (default: %(default)s)")
    add("--groups", type=int, default=8, metavar="COUNT",
        help="Unet's resnet_block_groups, before release 2.0.0 (default: %(default)s)")
    add("--theta", type=float, default=10_000.0,
        help="Unet's sinusoidal_pos_emb_theta (default: %(default)g)")


def add_edm(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what a state dict of NVlabs/edm does not tell."""
    add = parser.add_argument_group("what the file does not tell").add_argument
    add("--precond", choices=("edm", "vp"), required=True,
        help="the preconditioning that it was trained with: edm, as the published edm-* models, or "
        "vp, as the baseline-*-vp models")
    add("--timesteps", type=int, default=1000, metavar="COUNT",
        help="steps T of the chain that it is made (default: %(default)s)")
    add("--sigma-min", type=float, default=0.002, metavar="SIGMA",
        help="noise at the chain's first step, of --precond edm (default: %(default)s)")
    add("--sigma-max", type=float, default=80.0, metavar="SIGMA",
        help="noise at the chain's last step, of --precond edm (default: %(default)g)")
    add("--sigma-data", type=float, default=0.5, metavar="SIGMA",
        help="the data's standard deviation that --precond edm assumes (default: %(default)s)")


# fmt: on


def _switch(text: str) -> bool:
    """Read True or False, also as those projects let one write it."""
    if text.lower() in ("true", "yes", "t", "y", "1"):
        return True
    if text.lower() in ("false", "no", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be True or False")
