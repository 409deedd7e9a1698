"""The configuration of a SongUNet: what cannot be built is refused by field and value."""

from typing import Any

import pytest

from diffusion.fields import ConfigError, from_dict
from diffusion.networks.song_config import SongUNetConfig

FIELDS: dict[str, Any] = {"sample_size": 32, "in_channels": 3, "out_channels": 3}


def config(**fields: Any) -> SongUNetConfig:
    return from_dict(SongUNetConfig, {**FIELDS, **fields})


def test_the_defaults_are_the_projects_for_cifar10() -> None:
    made = config()
    assert (made.model_channels, made.channel_mult, made.num_blocks) == (128, (2, 2, 2), 4)
    assert made.resolutions == (32, 16, 8) and made.attn_resolutions == (16,)


def test_classes_and_timesteps_are_those_that_it_has_tables_of() -> None:
    assert (config().num_class_embeds, config().max_timesteps) == (None, 1000)
    made = config(label_dim=10, num_train_timesteps=40)
    assert (made.num_class_embeds, made.max_timesteps) == (10, 40)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channel_mult": []}, "channel_mult: .*1..10 numbers"),
        ({"channel_mult": [200]}, "channel_mult: .*widths to 16384"),
        ({"sample_size": 30}, "sample_size: 30 .*a multiple of 4"),
        ({"sample_size": [32, 32]}, "sample_size: .*one number: the images are square"),
        ({"model_channels": 100}, "model_channels: 100 .*a multiple of 32, above 0"),
        ({"model_channels": 6, "channel_mult": [1]}, "model_channels: 6 .*a multiple of 4"),
        ({"model_channels": 0}, "model_channels: 0 .*above 0"),
        ({"num_blocks": 0}, "num_blocks: 0 .*1..16"),
        ({"label_dim": -1}, "label_dim: -1 .*0..1000000"),
        ({"num_train_timesteps": 0}, "num_train_timesteps: 0 .*1..1000000"),
        ({"attn_resolutions": [16, 4]}, r"attn_resolutions: .*sides \(32, 16, 8\)"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        config(**fields)
