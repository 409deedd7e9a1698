"""What is written: diffusers loads it, and what diffusers wrote comes back the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from diffusion.checkpoint import CheckpointError, open_checkpoint, save_checkpoint
from diffusion.config import ProcessConfig, WeightsType
from diffusion.model_card import ModelCard
from diffusion.process import Process
from tests.tiny import save_tiny


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variance_type": "fixed_large", "clip_sample": False},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.03},
        {"num_train_timesteps": 500, "beta_end": 0.04, "clip_sample_range": 2.0},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.1, 0.2, 0.9999], "num_train_timesteps": 3},
        {"beta_schedule": "sigmoid"},
        {"beta_schedule": "laplace"},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"rescale_betas_zero_snr": True, "prediction_type": "sample", "beta_schedule": "sigmoid"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the process does not end in noise")
def test_every_scheduler_we_know_comes_from_diffusers_and_goes_back(
    options: dict[str, Any], tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    theirs = DDPMScheduler(**options)
    theirs.save_pretrained(folder / "scheduler")
    opened = open_checkpoint(folder)
    alpha_bar = Process.from_config(opened.process).alpha_bar
    torch.testing.assert_close(alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-3, atol=1e-7)
    save_checkpoint(tmp_path / "again", opened.load(), opened.process, opened.card)
    back = DDPMPipeline.from_pretrained(tmp_path / "again").scheduler
    for field in ("variance_type", "clip_sample", "clip_sample_range", "prediction_type"):
        assert back.config[field] == theirs.config[field]
    torch.testing.assert_close(back.betas, theirs.betas, rtol=1e-5, atol=1e-9)


def test_a_schedule_that_diffusers_has_no_name_for_goes_there_as_its_table(tmp_path: Path) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).load()
    process = ProcessConfig(50, "log_snr", log_snr_max=11.0)
    save_checkpoint(tmp_path / "even", model, process, ModelCard())
    wanted = Process.from_config(process)
    theirs = DDPMPipeline.from_pretrained(tmp_path / "even").scheduler
    torch.testing.assert_close(theirs.betas.double(), wanted.beta, rtol=1e-6, atol=0)
    back = Process.from_config(open_checkpoint(tmp_path / "even").process)
    assert torch.equal(back.beta, wanted.beta)


def test_other_users_can_read_a_checkpoint(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o444 == 0o444, path


def test_every_file_names_the_class_that_reads_it(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    named = {
        path.relative_to(folder).as_posix(): json.loads(path.read_text()).get("_class_name")
        for path in folder.rglob("*.json")
    }
    assert named == {
        "model_index.json": "DDPMPipeline",
        "unet/config.json": "UNet2DModel",
        "scheduler/scheduler_config.json": "DDPMScheduler",
        "model_card.json": None,
    }


def test_a_checkpoint_that_cannot_be_written_whole_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_checkpoint(save_tiny(tmp_path / "tiny"))
    model = opened.load()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("diffusion.checkpoint.saving.save_file", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(tmp_path / "tiny", model, ProcessConfig(7), ModelCard(name="other"))
    assert open_checkpoint(tmp_path / "tiny") == opened
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_weights_of_half_the_size_are_the_rounded_ones_here_and_in_diffusers(
    name: WeightsType, tmp_path: Path
) -> None:
    opened = open_checkpoint(save_tiny(tmp_path / "tiny"))
    model = opened.load()
    save_checkpoint(tmp_path / "half", model, opened.process, opened.card, name)
    half = open_checkpoint(tmp_path / "half")
    sizes = [each.weights.paths[0].stat().st_size for each in (half, opened)]
    assert sizes[0] < 0.6 * sizes[1] and half.header.weights_type == name
    found, theirs = half.load(), DDPMPipeline.from_pretrained(tmp_path / "half").unet
    for key, weight in model.state_dict().items():
        rounded = weight.to(getattr(torch, name)).float()
        assert torch.equal(found.state_dict()[key], rounded)
        assert torch.equal(theirs.state_dict()[key], rounded)  # float32, as diffusers loads them


def test_a_weight_that_is_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    opened = open_checkpoint(save_tiny(tmp_path / "tiny"))
    model = opened.load()
    model.state_dict()["conv_in.bias"][0] = 65520.0
    with pytest.raises(CheckpointError, match=r"weights_dtype: 'float16' .* conv_in.bias is above"):
        save_checkpoint(tmp_path / "half", model, opened.process, opened.card, "float16")
    assert not (tmp_path / "half").exists()
    save_checkpoint(tmp_path / "half", model, opened.process, opened.card, "bfloat16")
