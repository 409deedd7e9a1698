"""Configurations: read from TOML, wrong values named with what is allowed."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from diffusion.config import Config, DataConfig, ProcessConfig, TrainingConfig
from diffusion.fields import ConfigError, from_dict, to_dict
from diffusion.presets import PRESETS
from diffusion.unet_config import UNetConfig

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_that_come_with_the_project_are_valid(path: Path) -> None:
    config = Config.read(path)
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_defaults_are_the_papers() -> None:
    training = TrainingConfig()
    assert (training.learning_rate, training.batch_size, training.ema_decay) == (2e-4, 128, 0.9999)
    assert (training.warmup_steps, training.clip_norm, training.num_steps) == (5000, 1.0, 800_000)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (ProcessConfig, {"num_timesteps": 10**9}, "num_timesteps: 1000000000 is not allowed; it"),
        (
            ProcessConfig,
            {"num_timesteps": 0},
            "num_timesteps: 0 is not allowed; it must be 1..100000",
        ),
        (ProcessConfig, {"beta_start": 1.5}, "beta_start: 1.5 is not allowed; it must be between"),
        (
            ProcessConfig,
            {"beta_start": 0.5, "beta_end": 0.1},
            "beta_start: 0.5 .* at most beta_end",
        ),
        (TrainingConfig, {"seed": 2**63}, "seed: 9223372036854775808 .* must be below 2\\^63"),
        (ProcessConfig, {"schedule": "table"}, "beta_table: '0 values' is not allowed"),
        (ProcessConfig, {"log_snr_min": 20.0}, "log_snr_min: 20.0 is not allowed; it must be bel"),
        (TrainingConfig, {"learning_rate": -1.0}, "learning_rate: -1.0 is not allowed"),
        (TrainingConfig, {"snapshot_every": -1}, "snapshot_every: -1 .* must be at least 0"),
        (
            TrainingConfig,
            {"uniform_share": 0.0},
            "uniform_share: 0.0 is not allowed; it must be",
        ),
        (TrainingConfig, {"ema_decay": 1.0}, "ema_decay: 1.0 is not allowed; it must be 0 or more"),
        (TrainingConfig, {"batch_size": 10, "accumulate": 3}, "accumulate: 3 .* divisor of batch"),
        (UNetConfig, {"block_out_channels": [8, 16]}, "down_block_types: .* must be 2 blocks"),
        (
            Config,
            {"unet": {"time_embedding_type": "fourier"}},
            "time_embedding_type: 'fourier' is not allowed; it must be positional or learned, to",
        ),
        (Config, {"training": {"label_dropout": 0.1}}, "label_dropout: needs num_class_embeds"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    cls: type, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(cls, values)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match=f"{path}: .*No such file"):
        Config.read(path)
    for content, message in (
        (b"data = ", "Invalid value"),
        (b'data = "\xe9"', "not text in UTF-8: .*0xe9"),
        (b"data = " + b"[" * 100_000, ""),
        (b"data = " + b"9" * 5000, "Exceeds the limit"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"^{path}: {message}"):
            Config.read(path)
    with pytest.raises(ConfigError, match=f"^{tmp_path}: not a regular file$"):
        Config.read(tmp_path)


def test_a_file_is_utf8_whatever_the_language_of_the_machine_is(tmp_path: Path) -> None:
    text = 'data = "café😀"\n[unet]\npreset = "small"\n[training]\nnum_steps = 1'
    (tmp_path / "a.toml").write_bytes(text.encode())
    assert Config.read(tmp_path / "a.toml").data.path == "café😀"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are Unix'")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="a.toml: not a regular file"):
        Config.read(tmp_path / "a.toml")


def test_the_data_are_a_table_or_in_short_a_path() -> None:
    assert from_dict(Config, {"data": "mnist"}).data == DataConfig("mnist")
    table = {"path": "photos", "size": [32, 48], "crop": "pad", "background": "black",
             "channels": 3, "holdout": 0.1, "labels": "none"}  # fmt: skip
    config = from_dict(Config, {"data": table}).data
    assert config.size_hw == (32, 48) and config.crop == "pad" and config.holdout == 0.1
    assert DataConfig(size=7).size_hw == (7, 7) and DataConfig().size_hw is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"path": ""}, "path: '' is not allowed"),
        ({"size": 0}, "size: 0 is not allowed; it must be 1..16384"),
        ({"size": [1, 2, 3]}, "size: .1, 2, 3. is not allowed"),
        ({"crop": "middle"}, "crop: 'middle' is not allowed; it must be one of 'center'"),
        ({"channels": 2}, "channels: 2 is not allowed; it must be 1 or 3"),
        ({"holdout": -1}, "holdout: -1 is not allowed; it must be a share below 1"),
        ({"holdout": 1.5}, "holdout: 1.5 is not allowed"),
        ({"holdout": math.inf}, "holdout: inf is not allowed; it must be a share below 1"),
        ({"holdout": math.nan}, "holdout: nan is not allowed"),
        ({"labels": ""}, "labels: '' is not allowed"),
        ({"pth": "x"}, "pth: unknown field; known are path, size"),
    ],
)
def test_impossible_data_are_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^data.{message}"):
        from_dict(Config, {"data": table})


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return Config.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('data = "mnist"', "unet: the network is missing; give .* 'small', 'medium', 'paper'"),
        ('data = "x"\n[unet]\nsample_size = 28', "unet: the network is missing"),
        ('data = "x"\n[unet]\npreset = "small"', "training.num_steps: missing; give"),
        (
            'data = "x"\n[unet]\npreset = "huge"\n[training]\nnum_steps = 1',
            "unet.preset: 'huge' is not allowed; it must be one of 'small', 'medium', 'paper'",
        ),
        (
            'data = "x"\n[unet]\npreset = []\n[training]\nnum_steps = 1',
            r"unet.preset: \[\] is not allowed",
        ),
        ('data = "x"\nunet = 3', "unet: 3 is not allowed"),
        ("data = 5", "data: 5 is not allowed; it must be a text or a table"),
        ("data = {}", "data.path: missing; give .data. a path"),
        ("[data]\nsize = 8", "data.path: missing"),
        ('[unet]\npreset = "small"', "data.path: missing"),
    ],
)
def test_a_file_must_name_the_data_the_network_and_the_number_of_steps(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_fields_beside_a_preset_take_the_place_of_its_own(tmp_path: Path) -> None:
    unet = 'data = "x"\n[unet]\npreset = "small"\nsample_size = 28\ndropout = 0.2\n'
    config = read(tmp_path, unet + "[training]\nnum_steps = 9")
    assert config.unet.block_out_channels == tuple(PRESETS["small"]["block_out_channels"])
    assert (config.unet.sample_size, config.unet.dropout) == (28, 0.2)
    assert config.training.num_steps == 9


def test_what_a_run_has_stored_needs_no_preset() -> None:
    assert from_dict(Config, {}) == Config(), "as older versions did, which had all by default"
