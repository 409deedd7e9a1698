"""Stages of `benchmarks.gpu_train` with networks and images so small that a CPU takes seconds."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_stages import Stage
from diffusion.config import Config
from diffusion.fields import to_dict

STEPS, BATCH, SIDE = 6, 4, 8
IMAGES = {"train": 60, "test": 20}
EVALUATE = "--images 2 --terms 2 --samples 10 --features random --sampler ddim:2"


def shrink(stages: Sequence[Stage], out: Path) -> list[Stage]:
    """Write a configuration for each stage to OUT/configs, with all that the stage's own says but
    the sizes. Returns the stages with these."""
    folder = out / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    tiny = []
    for stage in stages:
        config = stage.read_config()
        path = folder / f"{stage.name}.toml"
        path.write_text(toml(config))
        tiny.append(dataclasses.replace(stage, config=path, evaluate=EVALUATE))
    return tiny


def toml(config: Config) -> str:
    """A configuration's text with a tiny network and few steps."""
    values = to_dict(config)
    sizes = {
        "sample_size": SIDE, "block_out_channels": [8, 16], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4, "attention_head_dim": 8,
    }  # fmt: skip
    training = {
        "num_steps": STEPS, "batch_size": BATCH, "warmup_steps": 2, "log_every": 1,
        "save_every": STEPS, "compile": False,
        "horizontal_flip": bool(config.training.horizontal_flip),  # these classes have no names
        "shift": min(config.training.shift, 1),
    }  # fmt: skip
    tables = {
        "process": values["process"],
        "unet": {**values["unet"], **sizes},
        "training": {**values["training"], **training},
    }
    text = [f"data = {json.dumps(config.data.path)}"]
    for name, fields in tables.items():
        text += [f"[{name}]", *(f"{key} = {written(value)}" for key, value in fields.items()
                                if value is not None)]  # fmt: skip
    return "\n".join(text) + "\n"


def written(value: Any) -> str:
    """A value as TOML has it, which is as JSON has it: numbers, texts, lists, true and false."""
    return json.dumps(value)


def images(config: Config, folder: Path) -> Path:
    """Write random images of every class, and return the .npz."""
    channels, rows = config.unet.in_channels, config.unet.num_class_embeds or 1
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in IMAGES.items():
        arrays[f"x_{split}"] = random.integers(0, 256, (count, SIDE, SIDE, channels), np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % (rows - 1)
    path = folder / f"images-{channels}-{rows}.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path
