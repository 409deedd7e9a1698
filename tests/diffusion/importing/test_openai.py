"""Models of improved-diffusion and guided-diffusion: the same outputs here as there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline
from torch import Tensor

from app.cli import main
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.config import ProcessConfig
from diffusion.process import Process
from diffusion.unet_config import UNetConfig
from tests.diffusion.importing.conftest import Import, Refusal, with_random_weights
from tests.diffusion.importing.openai_network import OpenAINetwork, Shape
from tests.diffusion.importing.paper_network import PaperNetwork
from tests.diffusion.importing.paper_network import Shape as PaperShape

IMPROVED = {
    "their defaults, but small": Shape(32, mult=(1, 2, 2), attends=(16, 8), heads=4),
    "cifar10, but narrow": Shape(
        32, mult=(1, 2, 2, 2), blocks=3, attends=(16, 8), heads=4, learn_sigma=True
    ),
    "lsun, but small": Shape(
        mult=(1, 1, 2), blocks=2, attends=(4,), scale_shift=False, learn_sigma=True
    ),
    "two widths, one head": Shape(32, mult=(1, 2, 3), attends=(16, 8)),
    "two heads at the middle alone": Shape(mult=(1, 2), attends=(), heads=2),
    "classes": Shape(classes=5, learn_sigma=True, heads=2),
    "grey images": Shape(channels=1),
}
GUIDED = {
    "imagenet64, but narrow": Shape(
        32, width=64, mult=(1, 2, 3), blocks=3, attends=(32, 16, 8), head_channels=32,
        new_order=True, updown=True, classes=7, learn_sigma=True,
    ),
    "lsun, but small": Shape(
        32, mult=(1, 1, 2, 4), blocks=2, attends=(8, 4), head_channels=16, updown=True,
        learn_sigma=True,
    ),
    "new order of attention": Shape(heads=4, new_order=True),
    "no scale and shift": Shape(updown=True, scale_shift=False, attends=(16, 8), heads=1),
}  # fmt: skip
OURS_ALONE = {
    "imagenet64, but narrow": ("improved-diffusion", Shape(
        32, width=32, mult=(1, 2, 3, 4), blocks=3, attends=(16, 8), heads=4, learn_sigma=True,
        classes=5,
    )),
    "adm 128, but narrow": ("guided-diffusion", Shape(
        32, mult=(1, 1, 2, 3), blocks=2, attends=(16, 8), heads=4, updown=True, classes=5,
        learn_sigma=True,
    )),
    "adm 512, but narrow": ("guided-diffusion", Shape(
        32, width=64, mult=(0.5, 1, 2), attends=(16, 8), head_channels=32, updown=True, classes=5,
    )),
}  # fmt: skip
"""Networks that no UNet2DModel is."""
T = torch.tensor([0, 7, 999])


def flags(shape: Shape) -> list[str]:
    """The flags that say a shape, as their scripts take them."""
    made = {
        "image_size": shape.size,
        "num_channels": shape.width,
        "channel_mult": ",".join(map(str, shape.mult)),
        "num_res_blocks": shape.blocks,
        "attention_resolutions": ",".join(map(str, shape.attends)) or shape.size * 2,
        "num_heads": shape.heads,
        "use_scale_shift_norm": shape.scale_shift,
        "class_cond": shape.classes is not None,
        "learn_sigma": shape.learn_sigma,
    }
    if shape.head_channels:
        made["num_head_channels"] = shape.head_channels
    for flag in ("new_order", "updown"):
        if getattr(shape, flag):
            made[{"new_order": "use_new_attention_order", "updown": "resblock_updown"}[flag]] = True
    return [word for flag, value in made.items() for word in (f"--{flag}", str(value))]


def inputs(shape: Shape) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(3, shape.channels, shape.size, shape.size, generator=generator)
    return x_t, torch.tensor([0, 4, 2]) if shape.classes else None


def network_config(checkpoint: Checkpoint) -> UNetConfig:
    assert isinstance(checkpoint.unet, UNetConfig)
    return checkpoint.unet


@torch.no_grad()
def check_outputs(
    checkpoint: Checkpoint, theirs: OpenAINetwork, t: Tensor = T, told: Tensor = T
) -> None:
    """Compare our network's output, and diffusers', with theirs, which is told `told` for t.

    Diffusers' where it has such a network.
    """
    x_t, label = inputs(theirs.shape)
    expected = theirs(x_t, told, label)
    assert 0.1 < expected.std() < 10, "a test that can fail"
    torch.testing.assert_close(checkpoint.load()(x_t, t, label), expected, rtol=1e-5, atol=1e-5)
    if type(checkpoint.unet) is UNetConfig:
        unet = DDPMPipeline.from_pretrained(checkpoint.folder).unet
        made = unet(x_t, t, class_labels=label).sample
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", IMPROVED.values(), ids=IMPROVED)
def test_improved_diffusion_gives_what_it_does_there(shape: Shape, import_network: Import) -> None:
    theirs = with_random_weights(OpenAINetwork(shape))
    check_outputs(import_network("improved-diffusion", theirs, *flags(shape)), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("shape", GUIDED.values(), ids=GUIDED)
def test_guided_diffusion_gives_what_it_does_there(shape: Shape, import_network: Import) -> None:
    theirs = with_random_weights(OpenAINetwork(shape))
    check_outputs(import_network("guided-diffusion", theirs, *flags(shape)), theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("project", "shape"), OURS_ALONE.values(), ids=OURS_ALONE)
def test_networks_that_diffusers_has_not_give_what_they_do_there(
    project: str, shape: Shape, import_network: Import, tmp_path: Path
) -> None:
    theirs = with_random_weights(OpenAINetwork(shape))
    checkpoint = import_network(project, theirs, *flags(shape))
    check_outputs(checkpoint, theirs)
    index = json.loads((checkpoint.folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusion", "ADMUNet"]
    with pytest.raises((ValueError, ImportError, AttributeError)):
        DDPMPipeline.from_pretrained(checkpoint.folder)
    assert main(["export", str(checkpoint.folder), str(tmp_path / "again")]) == 0
    check_outputs(open_checkpoint(tmp_path / "again"), theirs)


@pytest.mark.parametrize("steps", [4000, 50])
def test_rescaled_timesteps_become_a_table_of_embeddings(
    steps: int, import_network: Import
) -> None:
    theirs = with_random_weights(OpenAINetwork(Shape()))
    chain = (f"--diffusion_steps={steps}", "--noise_schedule=cosine", "--rescale_timesteps=True")
    checkpoint = import_network("guided-diffusion", theirs, *flags(theirs.shape), *chain)
    assert network_config(checkpoint).time_embedding_type == "learned"
    check_outputs(checkpoint, theirs, T % steps, T % steps * 1000 / steps)


def test_timesteps_of_a_thousand_steps_need_no_scale(import_network: Import) -> None:
    theirs = with_random_weights(OpenAINetwork(Shape()))
    checkpoint = import_network("improved-diffusion", theirs, *flags(theirs.shape))
    assert network_config(checkpoint).time_embedding_type == "positional"


@pytest.mark.parametrize(
    ("project", "chain", "expected"),
    [
        ("improved-diffusion", "", ProcessConfig(variance="fixed_large")),
        ("guided-diffusion", "", ProcessConfig(variance="fixed_large")),
        ("improved-diffusion", "--sigma_small", ProcessConfig(variance="fixed_small")),
        (
            "improved-diffusion",
            "--diffusion_steps 4000 --noise_schedule cosine --predict_xstart True",
            ProcessConfig(4000, "cosine", variance="fixed_large", prediction="x_0"),
        ),
        (
            "guided-diffusion",
            "--diffusion_steps 200 --use_kl True --use_fp16 True --dropout 0.1 "
            "--timestep_respacing ddim25 --rescale_learned_sigmas True --use_checkpoint True",
            ProcessConfig(200, variance="fixed_large"),
        ),
    ],
)
def test_flags_say_the_process(
    project: str, chain: str, expected: ProcessConfig, import_network: Import
) -> None:
    theirs = with_random_weights(OpenAINetwork(Shape()))
    found = import_network(project, theirs, *flags(theirs.shape), *chain.split()).process
    for made in (found, expected):
        assert (made.num_timesteps, made.clip) == (expected.num_timesteps, 1.0)
    assert (found.variance, found.prediction) == (expected.variance, expected.prediction)
    alpha_bar = (Process.from_config(process).alpha_bar for process in (found, expected))
    torch.testing.assert_close(*alpha_bar)


def test_a_learned_variance_is_a_learned_range(import_network: Import) -> None:
    theirs = with_random_weights(OpenAINetwork(Shape(learn_sigma=True)))
    checkpoint = import_network("improved-diffusion", theirs, *flags(theirs.shape))
    assert checkpoint.process.variance == "learned_range"
    assert checkpoint.unet.out_channels == 6


@pytest.mark.parametrize(
    ("changed", "given", "message"),
    [
        ({}, "--num_channels=64", "--num_channels: 64 is not what the file's tensors say: 32"),
        ({}, "--class_cond", "--class_cond: True is not what the file's tensors say: False"),
        ({"classes": 5}, "--class_cond=False", "--class_cond: False is not what"),
        ({}, "--learn_sigma", "--learn_sigma: True is not what"),
        ({}, "--use_scale_shift_norm=False", "--use_scale_shift_norm: False is not what"),
        ({}, "--num_res_blocks=2", "--num_res_blocks: 2 is not what the file's tensors say: 1"),
        ({}, "--resblock_updown", "--resblock_updown: True is not what"),
        (
            {"updown": True},
            "--num_res_blocks=2",
            "tensor input_blocks.4.0.in_layers.0.weight is missing; see to --num_res_blocks",
        ),
        ({}, "--channel_mult=1,3", "has shape (64,) of torch.float32, not (96,) of floating-point"),
        ({}, "--channel_mult=1,2,2", "tensor input_blocks.4.0.op.weight is missing; see to --res"),
        (
            {},
            "--attention_resolutions=16,8",
            "tensor input_blocks.1.1.norm.weight is missing; see to --attention_resolutions",
        ),
        (
            {"attends": (16, 8)},
            "--attention_resolutions=8",
            "tensor input_blocks.1.1.norm.weight has no place in the network; see to --attention",
        ),
        (
            {"updown": True},
            "--resblock_updown=False",
            "tensor input_blocks.2.0.op.weight is missing; see to --resblock",
        ),
        ({}, "--attention_resolutions=0", "--attention_resolutions: '0' is not allowed"),
        ({}, "--num_heads=3", "--num_heads: 3 does not divide all of 64 channels"),
        ({}, "--num_heads_upsample=2", "--num_heads_upsample: 2 is not allowed"),
        ({}, "--num_head_channels=24", "--num_head_channels: 24 does not divide 64"),
        ({}, "--channel_mult=1,x", "--channel_mult: '1,x' is not allowed; it must be as 1,2,3,4"),
        ({}, "--channel_mult=", "--channel_mult: missing; only of images of 32, 64, 128, 256, 512"),
        ({}, "--image_size=15", "sample_size: 15 is not allowed; it must be a multiple of 2"),
        ({}, "--diffusion_steps=10", "beta: 1.11556 at t = 6 is not allowed"),
        ({}, "--diffusion_steps=1000000000", "num_timesteps: 1000000000 is not allowed"),
    ],
)
def test_flags_that_do_not_fit_the_file_are_named(
    changed: dict[str, Any], given: str, message: str, refusal: Refusal
) -> None:
    theirs = OpenAINetwork(Shape(**changed))
    assert message in refusal("guided-diffusion", theirs, *flags(theirs.shape), given)


def test_a_super_resolution_model_is_refused_by_name(refusal: Refusal) -> None:
    theirs = OpenAINetwork(Shape(channels=6))
    told = refusal("guided-diffusion", theirs, *flags(theirs.shape))
    assert told.startswith("the network takes 6 channels: a super-resolution model, which is told")


def test_a_classifier_is_refused_by_name(refusal: Refusal) -> None:
    theirs = OpenAINetwork(Shape())
    theirs.output_blocks = torch.nn.ModuleList()
    told = refusal("guided-diffusion", theirs, *flags(theirs.shape))
    assert told == "it has no output_blocks: a classifier, which makes no images"


def test_a_network_of_another_project_is_refused(refusal: Refusal) -> None:
    theirs = PaperNetwork(PaperShape())
    told = refusal("improved-diffusion", theirs)
    assert told == "tensor input_blocks.0.0.weight is missing: not a network of this project"


def test_a_latent_diffusion_model_is_refused_by_name(refusal: Refusal) -> None:
    network = torch.nn.ModuleDict({"model": OpenAINetwork(Shape())})
    network["first_stage_model"] = torch.nn.Linear(2, 2)
    told = refusal("guided-diffusion", network)
    assert told.startswith("it has a first_stage_model: a latent diffusion model")
