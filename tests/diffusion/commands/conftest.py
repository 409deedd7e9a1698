"""A configuration and a data set so small that a run takes a moment."""

from pathlib import Path

import numpy as np
import pytest

CONFIG = """
data = "{data}"
[process]
num_timesteps = 25
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [8]
layers_per_block = 1
down_block_types = ["AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D"]
norm_num_groups = 4
num_class_embeds = 3
[training]
num_steps = 4
batch_size = 4
warmup_steps = 1
label_dropout = 0.1
log_every = 1
save_every = 2
sample_every = 2
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.toml: four steps on ten images of two classes, and a null label."""
    folder = tmp_path_factory.mktemp("config")
    data = folder / "data.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    np.savez(data, images=pixels, labels=np.arange(10) % 2)
    path = folder / "tiny.toml"
    path.write_text(CONFIG.format(data=data))
    return path
