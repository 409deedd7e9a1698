"""A run's log as a picture."""

import json
from pathlib import Path

import pytest
from PIL import Image

from diffusion.training.plots import draw_losses


def log(run: Path, *lines: str) -> None:
    (run / "log.jsonl").write_text("\n".join(lines) + "\n")


def entry(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss, "loss_by_t/quartile_1": loss / 2})


@pytest.mark.slow
def test_the_curve_is_a_picture_in_the_folder_of_the_run(tmp_path: Path) -> None:
    log(tmp_path, entry(50, 1.0), entry(100, 0.5))
    picture = draw_losses(tmp_path)
    assert picture == tmp_path / "loss.png"
    with Image.open(picture) as image:
        assert image.size == (840, 480)
        assert len(set(image.convert("L").get_flattened_data())) > 10
