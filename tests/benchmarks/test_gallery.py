"""benchmarks.gallery: the pictures that it names, of the images that `ddpm sample` makes."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gallery
from diffusion import pixels
from diffusion.checkpoint import open_checkpoint
from diffusion.sampling import Request, Source, generate
from tests.tiny import save_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, channels=3)


def test_a_grid_has_a_row_for_each_seed_and_a_column_for_each_label(tiny: Path) -> None:
    source = Source.open(tiny, "cpu", "eager")
    grid = gallery.Grid("few", "ddim", 3)
    found = gallery.draw(source, grid, guidance=1.0)
    assert found.shape == (2 * 8 * gallery.SCALE, 3 * 8 * gallery.SCALE, 3)
    request = Request(1, 3, labels=[0, 1, 2], sampler="ddim", num_steps=3, guidance=1.0)
    row = pixels.tile(pixels.to_uint8(generate(source, request).numpy()), 3)
    np.testing.assert_array_equal(found[16 :: gallery.SCALE, :: gallery.SCALE], row)


def test_the_command_writes_the_grids_that_are_asked_for(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "open", partial(Source.open, runtime="eager"))
    gallery.main([str(tiny), f"--out={tmp_path / 'out'}", "--grids", "unguided"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tiny-unguided.png"}


def test_the_page_shows_every_grid_of_every_included_model() -> None:
    page = Path("docs/gallery.md").read_text()
    size = 0
    for model in gallery.included():
        for grid in gallery.grids(open_checkpoint(model)):
            path = Path("docs/gallery") / f"{model}-{grid.name}.png"
            assert path.exists(), f"python -m benchmarks.gallery {model} --grids {grid.name}"
            assert f"(gallery/{path.name})" in page
            with Image.open(path) as picture:
                picture.verify()
            size += path.stat().st_size
    assert size < 1_500_000
