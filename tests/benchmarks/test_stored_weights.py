"""benchmarks.stored_weights: weights as they are stored, and the table of what that loses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import stored_weights
from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.config import WeightsType
from tests.tiny import save_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny", num_classes=2, null_label=True)


@pytest.mark.parametrize("name", stored_weights.TYPES)
def test_weights_are_rounded_as_they_are_exported(
    name: WeightsType, tiny: Path, tmp_path: Path
) -> None:
    opened = open_checkpoint(tiny)
    save_checkpoint(tmp_path / "half", opened.load(), opened.process, opened.card, name)
    stored = open_checkpoint(tmp_path / "half").eps_model().state_dict()
    found = stored_weights.rounded(opened.eps_model(), name).state_dict()
    assert all(torch.equal(weight, stored[key]) for key, weight in found.items())


def test_the_table_compares_each_type_with_the_weights_as_they_are(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    labels = np.arange(6) % 2
    data = tmp_path / "data.npz"
    np.savez(data, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    stored_weights.main(
        [str(tiny), f"--data={data}", "--images=3", "--terms=4", "--samples=4"]
    )  # fmt: skip
    rows = [row.split(" | ") for row in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| float32", "| float16", "| bfloat16"]
    same, half, brain = (float(row[3].split(" ")[0]) for row in rows)
    assert same == 0 and 0 < abs(half) < abs(brain) < 0.1
