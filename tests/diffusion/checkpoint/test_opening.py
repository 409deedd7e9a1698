"""Opening a checkpoint: every refusal with its reason, and what tells one model from another."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.checkpoint import WEIGHTS, CheckpointError, open_checkpoint, save_checkpoint
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard
from tests.diffusion.checkpoint.folders import edit
from tests.tiny import save_tiny


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("unet/config.json", {"act_fn": "gelu"}),
        ("unet/config.json", {"freq_shift": 1}),
        ("unet/config.json", {"norm_eps": 1e-3}),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}),
        ("scheduler/scheduler_config.json", {"beta_end": 0.5}),
        ("scheduler/scheduler_config.json", {"clip_sample": False}),
    ],
    ids=lambda value: str(value),
)
def test_the_same_weights_used_otherwise_have_another_fingerprint(
    tmp_path: Path, file: str, fields: dict[str, Any]
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    before = open_checkpoint(folder)
    edit(folder / file, _diffusers_version="0.0.1")
    assert open_checkpoint(folder).fingerprint == before.fingerprint, "that decides nothing"
    edit(folder / file, **fields)
    after = open_checkpoint(folder)
    assert after.sha256 == before.sha256
    assert after.fingerprint != before.fingerprint


def test_a_field_that_came_later_leaves_older_fingerprints_as_they_were(tmp_path: Path) -> None:
    """Jobs hold them, and are refused where they differ."""
    opened = open_checkpoint(save_tiny(tmp_path / "tiny"))
    process = dataclasses.asdict(opened.process)
    del process["zero_terminal_snr"]
    text = json.dumps([dataclasses.asdict(opened.unet), process, [], None], sort_keys=True)
    assert opened.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_card_survives_and_names_null_label_and_classes(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "a", num_classes=3, null_label=True)).load()
    origin = ("photos", "CC0-1.0", "ddpm train")
    card = ModelCard("pets", 3, ("cat", "dog", "emu"), *origin, {"steps": 5}, {})
    save_checkpoint(tmp_path / "b", model, ProcessConfig(), card)
    opened = open_checkpoint(tmp_path / "b")
    assert opened.card == card
    assert (opened.name, opened.classes) == ("pets", ("cat", "dog", "emu"))


def test_a_folder_without_a_card_works(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "plain", num_classes=3)
    (folder / "model_card.json").unlink()
    opened = open_checkpoint(folder)
    assert (opened.name, opened.classes) == ("plain", ("0", "1", "2"))
    assert opened.card.null_label is None


def truncate(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-10])


def change(tensors: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "unet" / WEIGHTS)
        tensors(state)
        save_file(state, folder / "unet" / WEIGHTS)

    return damage


def only_a_pickle(folder: Path) -> None:
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def in_unet(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "unet" / "config.json", **fields)


def in_scheduler(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "scheduler" / "scheduler_config.json", **fields)


def in_card(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_card.json", **fields)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "not a whole safetensors file"),
        (only_a_pickle, "no such file; diffusion_pytorch_model.bin is a pickle, which is never"),
        (change(lambda s: s.pop("conv_in.bias")), "tensor conv_in.bias is missing"),
        (
            change(lambda s: s.update({"conv_in.bias": torch.zeros(9)})),
            r"tensor conv_in.bias has shape \(9,\), not \(8,\)",
        ),
        (change(lambda s: s.update(more=torch.zeros(1))), "tensor more has no place"),
        (lambda f: (f / "unet" / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "unet" / "config.json").write_text("{"), "not readable JSON"),
        (lambda f: (f / "unet" / "config.json").write_text("[]"), "not a JSON object"),
        (
            lambda f: (f / "scheduler" / "scheduler_config.json").unlink(),
            "scheduler_config.json: no such file",
        ),
        (
            in_scheduler(prediction_type="flow"),
            "prediction_type: 'flow' is not one of epsilon, sample",
        ),
        (in_scheduler(beta_schedule="exp"), "beta_schedule: 'exp' is not one of linear"),
        (in_scheduler(variance_type="learned"), "variance_type: 'learned': a variance that the"),
        (
            in_scheduler(variance_type="learned_range"),
            "out_channels: 1 is not allowed; it must be 2 for in_channels 1, learned_range",
        ),
        (in_scheduler(thresholding=True), "thresholding: dynamic thresholding, by which"),
        (
            in_unet(down_block_types=["SkipDownBlock2D", "DownBlock2D"]),
            "in_channels: 1 is not allowed; it must be 3, for Skip blocks",
        ),
        (in_unet(time_embedding_type="fourier"), "tensor time_proj.weight is missing"),
        (
            in_unet(time_embedding_type="learned", num_train_timesteps=10),
            "num_train_timesteps: 10 embedding rows, but the scheduler has 50 timesteps",
        ),
        (
            in_unet(class_embed_type="timestep"),
            "num_class_embeds: None is not allowed; it must be the number of classes, which class_",
        ),
        (
            in_unet(class_embed_type="identity"),
            "class_embed_type: 'identity' is not allowed; .*a label is a whole number here",
        ),
        (in_unet(out_channels=2), "out_channels: 2 is not allowed; it must be 1 for in_channels 1"),
        (in_unet(cross_attention_dim=8), "cross_attention_dim: not a field of an unconditional"),
        (in_card(null_label=0), "null_label: 0 is not the last row, None"),
        (in_card(classes=["cat"]), "classes: 1 names, 0 embedding rows"),
        (in_card(colour="red"), "colour: unknown field"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_with_the_reason(
    damage: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    damage(folder)
    with pytest.raises(CheckpointError, match=reason) as error:
        open_checkpoint(folder)
    assert str(folder) in str(error.value), "the message names the file"


def test_a_network_is_checked_and_loaded_without_torchs_compiler(tmp_path: Path) -> None:
    """Its import takes seconds, at every start of an engine."""
    folder = save_tiny(tmp_path / "tiny", num_classes=3, learned_time=True)
    check = (
        "import sys; from diffusion.checkpoint import open_checkpoint; "
        f"open_checkpoint({str(folder)!r}).load(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
