"""What is shipped in models/: where it came from, and that every sampler makes pictures with it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.__main__ import main
from diffusion.checkpoint import open_checkpoint
from diffusion.folders import MODELS
from diffusion.sampling import Request, Source, generate
from diffusion.spacing import SamplerName

LARGEST = {"mnist": 16, "mnist-linear": 16, "cifar10": 32, "emoji": 32}
"""MiB of weights."""
EDITING = Path(__file__).parent.parent / "docs" / "editing"


def test_every_model_is_checked_here() -> None:
    assert {path.parent.name for path in MODELS.glob("*/model_index.json")} == LARGEST.keys()


@pytest.mark.parametrize("name", LARGEST)
def test_a_model_says_where_it_came_from(name: str) -> None:
    checkpoint = open_checkpoint(name)
    card = checkpoint.card
    assert card.data and card.command and card.trained["steps"]
    assert len(checkpoint.classes) == card.null_label >= 9
    assert checkpoint.weights.paths[0].stat().st_size <= LARGEST[name] << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddpm", 30), ("ddim", 15), ("dpmpp", 8), ("unipc", 8), ("ipndm", 8)]
)
@pytest.mark.parametrize("name", LARGEST)
def test_samples_are_pictures_and_not_noise(name: str, sampler: SamplerName, steps: int) -> None:
    """Neighbouring pixels are alike; of clipped noise they are 0.9 apart."""
    source = Source.open(name, "cpu", "eager")
    x_0 = generate(source, Request(0, 3, labels=[0, 3, 8], sampler=sampler, num_steps=steps))
    apart = x_0.diff(dim=-1).abs().mean(dim=(1, 2, 3))
    assert bool((apart < 0.3).all()), apart


@pytest.mark.parametrize("name", ["mnist", "mnist-linear"])
def test_a_picture_comes_back_from_the_noise_that_it_is_encoded_to(
    name: str, tmp_path: Path
) -> None:
    """docs/editing.md has the figures of more steps and other pictures."""
    x_t, back = tmp_path / "x_t.npz", tmp_path / "back.png"
    how = ["--label=3", "--steps=20", "--runtime=eager", "--precision=float32"]
    assert main(["encode", name, f"{EDITING}/three.png", *how, f"--out={x_t}"]) == 0
    start = [f"--start-x-t={x_t}", "--n=1", "--sampler=ddim"]
    assert main(["sample", name, *start, *how, f"--out={back}"]) == 0
    given, found = (np.asarray(Image.open(path), float) for path in (EDITING / "three.png", back))
    assert np.sqrt(np.square(found - given).mean()) < 6
