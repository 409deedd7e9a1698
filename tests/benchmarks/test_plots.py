"""Plots of what was measured."""

from pathlib import Path

from benchmarks.plots import Panel, save

LINES = {"ours": [(1.0, 10.0), (2.0, 18.0)], "theirs": [(1.0, 4.0), (2.0, 5.0)]}
PANEL = Panel("mnist", "batch size", "image-steps/s", LINES)


def test_the_same_panels_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save(tmp_path / name, [PANEL, PANEL])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_files_name_says_its_format(tmp_path: Path) -> None:
    save(tmp_path / "plot.png", [PANEL])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
