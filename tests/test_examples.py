"""What a reader pastes works: the examples, and the README's and docs/client.md's Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ServerFor

ROOT = Path(__file__).parent.parent
DEFAULT_URL = "http://127.0.0.1:8000"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(server_for: ServerFor, ten_classes: Path) -> str:
    return server_for(f"--checkpoint={ten_classes}").url


def run(program: list[str], folder: Path) -> str:
    """What a Python program, with its arguments, prints in a folder."""
    command = [sys.executable, *program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str, url: str, folder: Path) -> str:
    return run([str(ROOT / "examples" / name), url], folder)


def test_every_example_has_a_test() -> None:
    names = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert names == {"model.py", "sample.py", "trajectory.py", "jobs.py"}


def test_model(url: str, tmp_path: Path) -> None:
    printed = example("model.py", url, tmp_path)
    assert "tiny: 8x8x1" in printed
    assert "alpha_bar at t = 0: 1.000000" in printed


def test_sample(url: str, tmp_path: Path) -> None:
    printed = example("sample.py", url, tmp_path)
    assert "the same: True" in printed
    assert "422 Invalid request: steps: " in printed
    with Image.open(tmp_path / "digits.png") as grid:
        assert grid.size == (32, 24)


def test_trajectory(url: str, tmp_path: Path) -> None:
    printed = example("trajectory.py", url, tmp_path)
    assert printed.count("the mean of x0_hat") == 11
    with Image.open(tmp_path / "way.gif") as animation:
        assert animation.size == (8, 8)


def test_jobs(url: str, tmp_path: Path) -> None:
    printed = example("jobs.py", url, tmp_path)
    assert "60 images, finished" in printed
    assert "404 Not found" in printed
    with np.load(tmp_path / "images.npz") as arrays:
        assert arrays["images"].shape == (60, 8, 8, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/client.md"])
def test_what_the_documents_show_works(name: str, url: str, tmp_path: Path) -> None:
    snippets = PYTHON.findall((ROOT / name).read_text())
    assert snippets
    run(["-c", "".join(snippets).replace(DEFAULT_URL, url)], tmp_path)
