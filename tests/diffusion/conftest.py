"""What the tests of the science share: the paper's process, small images, a tiny model, and a
finished report of it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion.process import Process
from diffusion.schedules import linear_beta
from tests.diffusion.chain import T
from tests.diffusion.evaluation.runs import Run, evaluate
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, in `train/` and `test/`; not to be written to."""
    folder = tmp_path_factory.mktemp("evaluation") / "data"
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for k, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = random.integers(100 * k, 100 + 100 * k, (8, 8), np.uint8)
                Image.fromarray(image).save(folder / split / name / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two classes and a null label; not to be written to."""
    folder = tmp_path_factory.mktemp("evaluation") / "tiny"
    return save_tiny(folder, num_classes=2, null_label=True)


@pytest.fixture(scope="session")
def run(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished evaluation of `tiny` on `data`; its folder is not to be written to."""
    return evaluate(tiny, data, tmp_path_factory.mktemp("evaluation") / "report")


@pytest.fixture
def process() -> Process:
    """The paper's: 1000 steps, betas from 1e-4 to 0.02."""
    return Process.from_beta(linear_beta(T))


@pytest.fixture
def signals() -> Iterator[None]:
    """No signal is ignored, also where the tests are run by `nohup` or in a shell's background."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
