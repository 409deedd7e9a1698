"""A configuration and a data set so small that a run takes a moment, and pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion import sampling
from tests.tiny import UNET_TOML

CONFIG = f"""
data = "{{data}}"
[process]
num_timesteps = 25
{UNET_TOML}
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.png and b.png of the model's size, wide.png of another, mask.png, and what is none."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, size in (("a", (8, 8)), ("b", (8, 8)), ("wide", (16, 40))):
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(folder / f"{name}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[4:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "none.png").write_bytes(b"no picture")
    np.savez(folder / "other.npz", images=np.zeros((1, 8, 8)))
    np.save(folder / "flat.npy", np.zeros(64, np.float32))
    return folder


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that must not be loaded, nor run."""

    def fail(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(sampling.Source, "of", fail)
