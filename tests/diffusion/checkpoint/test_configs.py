"""The JSON files of a checkpoint: what is read from each, and which fit one another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffusion.checkpoint import CheckpointError, open_checkpoint
from diffusion.checkpoint.configs import (
    check_fit,
    read_json,
    read_model_card,
    read_network,
    read_process,
)
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard
from diffusion.networks.adm_config import ADMConfig
from diffusion.unet_config import UNetConfig
from tests.diffusion.checkpoint.folders import SCHEDULER

SMALL: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}


def written(folder: Path, **fields: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(fields))
    return path


def refusal(run: Callable[[], object], path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        run()
    place, _, reason = str(refused.value).partition(": ")
    assert place == str(path), "the message begins with the file"
    return reason


def test_a_network_is_read_as_the_kind_that_its_class_names(tmp_path: Path) -> None:
    unnamed = read_network(written(tmp_path, **SMALL))
    assert unnamed == UNetConfig(**SMALL)
    assert type(read_network(written(tmp_path, _class_name="UNet2DModel", **SMALL))) is UNetConfig
    assert type(read_network(written(tmp_path, _class_name="ADMUNet", **SMALL))) is ADMConfig


def test_a_field_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, **{**SMALL, "in_channels": "one"})
    assert refusal(lambda: read_network(path), path).startswith("in_channels: 'one'")


@pytest.mark.parametrize(
    ("name", "betas", "clip"),
    [
        ("DDPMScheduler", (1e-4, 0.02), 1.0),
        ("DPMSolverMultistepScheduler", (1e-4, 0.02), 1.0),
        ("PNDMScheduler", (1e-4, 0.02), 1.0),
        ("HeunDiscreteScheduler", (0.00085, 0.012), None),
        ("KDPM2DiscreteScheduler", (0.00085, 0.012), 1.0),
        (None, (1e-4, 0.02), 1.0),
    ],
)
def test_what_a_scheduler_leaves_out_is_its_own_default(
    folder: Path, name: str | None, betas: tuple[float, float], clip: float | None
) -> None:
    """Of those that never clip x_0_hat, it is clipped nevertheless: pixels are in [-1, 1]."""
    (folder / SCHEDULER).write_text(json.dumps({"_class_name": name} if name else {}))
    assert open_checkpoint(folder).process == ProcessConfig(1000, "linear", *betas, clip=clip)


def test_a_process_that_cannot_be_is_refused_with_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, beta_start=0.5, beta_end=-1)
    assert "beta" in refusal(lambda: read_process(path), path)


def test_a_network_with_fewer_embedding_rows_than_the_process_has_steps_does_not_fit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    fields = {"time_embedding_type": "learned", "num_train_timesteps": 100}
    network = UNetConfig(**{**SMALL, **fields})
    check_fit(path, network, ProcessConfig(100))
    reason = refusal(lambda: check_fit(path, network, ProcessConfig(101)), path)
    assert reason == (
        "num_train_timesteps: 100 embedding rows, but the scheduler has 101 timesteps"
    )


def test_twice_the_channels_fit_a_learned_variance_alone(tmp_path: Path) -> None:
    path, twice = tmp_path / "config.json", UNetConfig(**{**SMALL, "out_channels": 2})
    check_fit(path, twice, ProcessConfig(variance="learned_range"))
    assert refusal(lambda: check_fit(path, twice, ProcessConfig()), path).startswith("out_channels")


def test_without_a_card_there_is_an_empty_one(tmp_path: Path) -> None:
    network = UNetConfig(**SMALL)
    assert read_model_card(tmp_path / "none.json", network, ProcessConfig()) == ModelCard()
    path = written(tmp_path, name="mine")
    assert read_model_card(path, network, ProcessConfig()) == ModelCard(name="mine")
    path = written(tmp_path, null_label=0)
    assert refusal(lambda: read_model_card(path, network, ProcessConfig()), path).startswith(
        "null_label: 0"
    )


def test_fields_that_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": 1, "b": NaN}')
    assert read_json(path, unread=["b"])["a"] == 1
    assert "b: nan" in refusal(lambda: read_json(path), path)
    missing = tmp_path / "none.json"
    assert refusal(lambda: read_json(missing), missing) == "no such file"
