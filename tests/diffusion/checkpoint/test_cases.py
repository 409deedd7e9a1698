"""Checkpoints that people really have: the rows of docs/checkpoints.md, each with its relatives.

All are made in code: a tiny network, with the files that each of them would have.
"""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from diffusion.checkpoint import WEIGHTS, open_checkpoint
from diffusion.checkpoint.classes import SERVED_SCHEDULERS
from diffusion.config import ProcessConfig
from diffusion.process import Process
from tests.diffusion.checkpoint.folders import (
    CONFIG,
    INDEX,
    SCHEDULER,
    STEM,
    edit,
    refused,
    rename_weights,
    same,
    shard,
    weights,
)
from tests.tiny import save_tiny

# Class names: the scheduler's


OVER_BETAS = sorted(name for name in SERVED_SCHEDULERS if hasattr(diffusers, name))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("name", OVER_BETAS)
def test_a_scheduler_over_betas_is_served_by_its_betas(folder: Path, name: str) -> None:
    options = {"beta_schedule": "squaredcos_cap_v2"}
    try:
        theirs = getattr(diffusers, name)(num_train_timesteps=500, **options)
    except ImportError as error:
        pytest.skip(str(error))
    theirs.save_pretrained(folder / "scheduler")
    process = open_checkpoint(folder).process
    alpha_bar = Process.from_config(process).alpha_bar
    torch.testing.assert_close(alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-3, atol=1e-7)
    assert (process.num_timesteps, process.prediction) == (500, "eps")
    assert process.variance == "fixed_small", "null and nothing mean the default"


@pytest.mark.parametrize(
    "fields",
    [
        {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min", "lambda_min_clipped": -5.1},
        {"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": False},
        {"skip_prk_steps": True, "algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_only_says_how_to_sample_is_not_read(folder: Path, fields: dict[str, Any]) -> None:
    before = open_checkpoint(folder).process
    edit(folder / SCHEDULER, _class_name="DPMSolverMultistepScheduler", **fields)
    assert open_checkpoint(folder).process == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("FlowMatchEulerDiscreteScheduler", "flow matching"),
        ("FlowMatchHeunDiscreteScheduler", "flow matching"),
        ("FlowMatchOfTomorrowScheduler", "flow matching"),
        ("EDMEulerScheduler", "EDM's process"),
        ("EDMDPMSolverMultistepScheduler", "EDM's process"),
        ("ScoreSdeVeScheduler", "variance-exploding"),
        ("KarrasVeScheduler", "variance-exploding"),
        ("ScoreSdeVpScheduler", "the variance-preserving SDE"),
        ("CMStochasticIterativeScheduler", "a consistency model"),
        ("LCMScheduler", "distilled to few steps"),
        ("TCDScheduler", "distilled to few steps"),
        ("IPNDMScheduler", "continuous time, without betas"),
        ("DDPMWuerstchenScheduler", "continuous time, without betas"),
        ("CogVideoXDDIMScheduler", "SNR is shifted"),
        ("UnCLIPScheduler", "an embedding of text"),
        ("VQDiffusionScheduler", "discrete tokens"),
        ("AmusedScheduler", "discrete tokens"),
        ("MyScheduler", "not a scheduler that is known"),
        ("", "not a scheduler that is known"),
    ],
)
def test_another_process_is_refused_by_name(folder: Path, name: str, what: str) -> None:
    edit(folder / SCHEDULER, _class_name=name)
    error = refused(folder)
    assert f"{SCHEDULER}: _class_name: {name}: " in str(error)
    assert what in error.reason
    assert error.remedy


# Class names: the pipeline's and the network's


@pytest.mark.parametrize(
    "name", ["DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "RePaintPipeline", "MyPipeline", None]
)
def test_a_pipeline_of_network_and_scheduler_is_served(folder: Path, name: str | None) -> None:
    before = open_checkpoint(folder)
    edit(folder / INDEX, _class_name=name)
    assert open_checkpoint(folder) == before
    (folder / INDEX).unlink()
    assert open_checkpoint(folder) == before


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"_class_name": "LDMPipeline"}, "_class_name: LDMPipeline: the network makes latents"),
        ({"vqvae": ["diffusers", "VQModel"]}, "vqvae: VQModel: the network makes latents"),
        ({"vae": ["diffusers", "AutoencoderKL"]}, "vae: AutoencoderKL: the network makes latents"),
        (
            {"_class_name": "StableDiffusionPipeline"},
            "StableDiffusionPipeline: the network is cond",
        ),
        ({"text_encoder_2": ["transformers", "CLIPTextModel"]}, "text_encoder_2: CLIPTextModel: "),
        ({"_class_name": "ConsistencyModelPipeline"}, "a consistency model"),
        ({"_class_name": "ScoreSdeVePipeline"}, "a variance-exploding process"),
        ({"_class_name": "KarrasVePipeline"}, "a variance-exploding process"),
        ({"_class_name": ["DDPMPipeline"]}, "_class_name: \"['DDPMPipeline']\" is not a text"),
    ],
    ids=str,
)
def test_a_pipeline_of_another_kind_is_refused(
    folder: Path, fields: dict[str, Any], what: str
) -> None:
    edit(folder / INDEX, **fields)
    error = refused(folder)
    assert str(error).startswith(str(folder / INDEX))
    assert what in str(error)


@pytest.mark.parametrize("part", ["vqvae", "vae", "text_encoder"])
def test_a_part_beside_the_network_tells_without_an_index(folder: Path, part: str) -> None:
    (folder / INDEX).unlink()
    (folder / part).mkdir()
    assert str(refused(folder)).startswith(str(folder / part))


def test_latents_are_refused_also_by_the_path_of_their_network(folder: Path) -> None:
    edit(folder / INDEX, _class_name="LDMPipeline")
    assert "latents" in str(refused(folder / "unet"))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("UNet2DConditionModel", "conditioned on text"),
        ("Transformer2DModel", "not a network that is known"),
        ("UNet1DModel", "not a network that is known"),
        ("AutoencoderKL", "an autoencoder"),
    ],
)
def test_another_network_is_refused_by_name(folder: Path, name: str, what: str) -> None:
    edit(folder / CONFIG, _class_name=name)
    assert f"{CONFIG}: _class_name: {name}: " in str(refused(folder))
    assert what in str(refused(folder))


# The network's config


EMA = {
    "decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 800_000,
    "power": 0.75, "update_after_step": 0, "use_ema_warmup": True, "_name_or_path": "somewhere",
    "_diffusers_version": "0.42.0", "not_yet_invented": None,
}  # fmt: skip


def test_fields_that_change_nothing_are_let_be(folder: Path) -> None:
    before = open_checkpoint(folder)
    edit(folder / CONFIG, **EMA)
    after = open_checkpoint(folder)
    assert (after.unet, after.fingerprint) == (before.unet, before.fingerprint)


@pytest.mark.parametrize("value", [False, 0, 8, "x", [1]])
def test_a_field_that_might_change_the_network_is_refused_by_name(
    folder: Path, value: object
) -> None:
    edit(folder / CONFIG, not_yet_invented=value)
    error = refused(folder)
    assert f"{CONFIG}: not_yet_invented: not a field" in str(error)
    assert error.remedy == "if it changes nothing, take it out"


# Where the network is


def test_averaged_weights_are_used_where_there_are_no_others(folder: Path) -> None:
    """A state of diffusers' training script."""
    (folder / "unet").rename(folder / "unet_ema")
    (folder / INDEX).unlink()
    edit(folder / "unet_ema" / "config.json", **EMA)
    assert open_checkpoint(folder).notes == ("the network is in unet_ema/: averaged weights",)


def test_averaged_weights_beside_others_are_named(folder: Path) -> None:
    before = weights(folder)
    save_tiny(folder / "other", num_timesteps=1000, size=16)
    (folder / "other" / "unet").rename(folder / "unet_ema")
    opened = open_checkpoint(folder)
    assert same(weights(folder), before), "as diffusers does"
    assert opened.notes[0].endswith(f"to use them, name {folder / 'unet_ema'}")
    averaged = open_checkpoint(folder / "unet_ema")
    assert averaged.unet.image_size == (16, 16)
    assert averaged.process == opened.process, "the scheduler of the pipeline around it"


def test_the_index_may_name_the_network_otherwise(folder: Path) -> None:
    (folder / "unet").rename(folder / "denoiser")
    index = {"denoiser": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / INDEX).write_text(json.dumps(index))
    assert "denoiser/" in open_checkpoint(folder).notes[0]


def test_the_only_network_in_a_folder_is_found_and_one_of_several_is_not(folder: Path) -> None:
    (folder / "unet").rename(folder / "model_ema")
    (folder / INDEX).unlink()
    assert open_checkpoint(folder).notes == ("the network is in model_ema/",)
    save_tiny(folder / "b")
    (folder / "b" / "unet").rename(folder / "model")
    error = refused(folder)
    assert error.reason == f"{folder}: several networks (model, model_ema)"


def test_a_network_alone_has_the_papers_schedule_and_says_so(folder: Path) -> None:
    """`unet.save_pretrained`."""
    alone = (folder / "unet").rename(folder.parent / "alone")
    opened = open_checkpoint(alone)
    assert opened.process == ProcessConfig(1000, "linear", 1e-4, 0.02)
    assert "the process is taken to be the paper's" in opened.notes[0]
    assert "add scheduler/scheduler_config.json" in opened.notes[0]


def test_a_pipeline_that_lost_its_scheduler_is_damaged(folder: Path) -> None:
    (folder / SCHEDULER).unlink()
    assert f"{SCHEDULER}: no such file" in str(refused(folder))


# The weights


@pytest.mark.parametrize("variant", ["fp16", "bf16", "ema", "non_ema"])
def test_a_variant_is_read_where_there_are_no_usual_weights(folder: Path, variant: str) -> None:
    before = weights(folder)
    path = rename_weights(folder, f"{STEM}.{variant}.safetensors")
    opened = open_checkpoint(folder)
    assert opened.weights.paths == (path,)
    assert f"variant {variant}" in opened.notes[0]
    assert same(weights(folder), before)
    (folder / "unet" / WEIGHTS).write_bytes(path.read_bytes())
    assert open_checkpoint(folder).notes == ()


@pytest.mark.parametrize("variant", ["", "fp16"])
def test_shards_are_read_and_hashed_in_order(folder: Path, variant: str) -> None:
    before = weights(folder)
    unet, _ = shard(folder, variant)
    opened = open_checkpoint(folder)
    assert same(weights(folder), before)
    command = f"sha256sum {unet}/*.safetensors | cut -c-64 | sha256sum"
    by_shell = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert opened.sha256 == by_shell.stdout.split()[0]
    assert len(opened.weights.paths) == 2


def test_what_diffusers_shards_is_read(folder: Path) -> None:
    network = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    (folder / "unet" / WEIGHTS).unlink()
    network.save_pretrained(folder / "unet", max_shard_size="100KB")
    opened = open_checkpoint(folder)
    assert len(opened.weights.paths) > 1
    assert same(weights(folder), network.state_dict())


def test_a_pickle_is_refused_with_the_command_that_converts_it(folder: Path) -> None:
    before = weights(folder)
    path = folder / "unet" / f"{STEM}.bin"
    torch.save(load_file(folder / "unet" / WEIGHTS), path)
    (folder / "unet" / WEIGHTS).unlink()
    error = refused(folder)
    assert f"{path.name} is a pickle, which is never loaded" in error.reason
    python, flag, code = shlex.split(str(error.remedy).split(": ", 1)[1])
    assert (python, flag) == ("python", "-c")
    exec(code, {})  # in this process, which has loaded diffusers already
    assert same(weights(folder), before)
