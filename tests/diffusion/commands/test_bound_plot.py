"""The plot of `ddpm bound`: what is drawn, and what is refused before the work."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image

from diffusion.bound import Draw
from diffusion.bound_sum import PictureBound, PictureTerm
from diffusion.commands.bound_plot import MAX_ROWS, SHOWN, check, draw
from diffusion.output import OutputError

T = 30


def found(count: int) -> list[PictureBound]:
    terms = tuple(PictureTerm(t, 1 / t, 1.0) for t in range(T, 0, -1))
    return [PictureBound(4.0, 0.1, 0.0, 1.0, terms)] * count


def draws(count: int) -> list[Draw]:
    """A draw at each t, from the top down."""
    states: Any = SimpleNamespace(
        x_t=torch.zeros(count, 1, 8, 8), x_0_hat=torch.ones(count, 1, 8, 8)
    )
    return [
        cast(Draw, SimpleNamespace(t=torch.full((count,), t), term=states))
        for t in range(T - 1, -1, -1)
    ]


def drawn(path: Path, count: int = 1) -> Path:
    draw(path, torch.zeros(count, 1, 8, 8), found(count), draws(count))
    return path


@pytest.mark.parametrize("name", ["a.gif", "a", "png"])
def test_another_kind_of_file_is_refused(name: str) -> None:
    check(Path("a.PNG"))
    check(Path("a.svg"))
    with pytest.raises(OutputError, match=f"^plot: '{name}' .*the ending must be .png or .svg"):
        check(Path(name))


def test_without_matplotlib_it_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match="matplotlib is not installed.*the extra `train`"):
        check(Path("a.png"))


def test_states_are_from_the_first_t_to_the_last_beside_the_picture(tmp_path: Path) -> None:
    svg = drawn(tmp_path / "no" / "such" / "a.svg").read_text()
    times = [t for t in range(1, T + 1) if f"<!-- t = {t} -->" in svg]
    assert len(times) == SHOWN and (times[0], times[-1]) == (1, T)
    assert "<!-- x_0 -->" in svg
    assert "<dc:date>" not in svg


@pytest.mark.parametrize("count", [2, MAX_ROWS + 1])
def test_each_picture_has_a_curve_and_a_row_but_for_those_that_are_too_many(
    count: int, tmp_path: Path
) -> None:
    svg = drawn(tmp_path / "a.svg", count).read_text()
    for k in range(1, count + 1):
        is_drawn = k <= MAX_ROWS
        assert (f"<!-- picture {k} -->" in svg) == is_drawn
        assert (f"<!-- picture {k}: x_t above, x_0_hat below -->" in svg) == is_drawn


def test_a_path_that_ends_in_png_gets_a_png(tmp_path: Path) -> None:
    with Image.open(drawn(tmp_path / "a.PNG")) as image:
        assert image.format == "PNG" and image.width > image.height


def test_what_cannot_be_written_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="^plot: .*file/a.png"):
        drawn(tmp_path / "file" / "a.png")
