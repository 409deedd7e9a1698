"""`ddpm sample`: the same images as a grid, an array or a folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion import pixels, sampling
from tests.tiny import save_tiny

FLAGS = ["--n=3", "--seed=5", "--label=1", "--guidance=0.5", "--batch-size=2", "--runtime=eager"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("sample") / "tiny", num_classes=2, null_label=True)


def test_the_flags_are_the_request(tiny: Path, tmp_path: Path) -> None:
    flags = ["--sampler=ddim", "--steps=3", "--eta=0.5", "--first-index=7", *FLAGS]
    assert main(["sample", str(tiny), f"--out={tmp_path / 'a.npz'}", *flags]) == 0
    request = sampling.Request(5, 3, 7, [1], "ddim", 3, eta=0.5, guidance=0.5)
    x_0 = sampling.generate(sampling.Source.open(tiny, "cpu", "eager"), request, batch_size=2)
    with np.load(tmp_path / "a.npz") as made:
        np.testing.assert_array_equal(made["images"], pixels.to_uint8(x_0.numpy()))


def test_the_images_are_the_same_in_every_kind_of_file(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("a.npz", "b.npz", "grid.png", "folder"):
        assert main(["sample", str(tiny), "--out", str(tmp_path / out), *FLAGS]) == 0
    assert f"3 samples of tiny written to {tmp_path / 'folder'}" in capsys.readouterr().out
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a["images"].shape == (3, 8, 8, 1)
        np.testing.assert_array_equal(a["images"], b["images"])
        with Image.open(tmp_path / "folder" / "000002.png") as image:
            np.testing.assert_array_equal(np.asarray(image), a["images"][2, :, :, 0])
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (16, 16)
