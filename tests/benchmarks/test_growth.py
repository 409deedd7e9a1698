"""benchmarks.growth: a few points of our server, and the tables and plots of others."""

import json
from pathlib import Path

import pytest

from benchmarks import growth

POINT = {"server": "ours", "axis": "clients", "at": 1, "images_per_second": 5.0, "p50": 0.2,
         "p95": 0.3, "errors": 0}  # fmt: skip
FOUND = {
    "machine": {"cpu": "a processor"},
    "points": [
        POINT, {**POINT, "at": 16, "images_per_second": 40.0}, {**POINT, "server": "lock"},
        {**POINT, "axis": "size", "at": 28}, {**POINT, "axis": "size", "at": 256, "p95": None},
    ],
}  # fmt: skip


def test_points_become_a_table_for_each_axis() -> None:
    text = growth.tables(FOUND)
    assert "| server | clients at once | images/s | p50 s | p95 s | errors |" in text
    assert "| ours | 16 | 40.0 | 0.200 | 0.300 | 0 |" in text
    assert "| server | pixels a side |" in text and "| ours | 256 | 5.00 | 0.200 |  | 0 |" in text


def test_the_tables_and_the_plot_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, plot = tmp_path / "growth.json", tmp_path / "growth.svg"
    saved.write_text(json.dumps(FOUND))
    assert growth.main([f"--from={saved}", f"--plot={plot}"]) == 0
    assert growth.tables(FOUND) in capsys.readouterr().out
    assert "pixels a side" in plot.read_text()
    assert plot.read_text().startswith("<?xml")


def test_a_server_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--servers", "theirs"]) == 2
    assert "--servers: 'theirs': it must be ours" in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_measures_both_axes(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "growth.json"
    status = growth.main(
        [f"--checkpoint={tiny}", "--clients", "1", "3", "--sizes", "16", "--clients-of-sizes=2",
         "--steps=2", "--seconds=0.2", "--flag=--runtime=eager", f"--out={out}"]
    )  # fmt: skip
    assert status == 0
    points = json.loads(out.read_text())["points"]
    assert [(p["axis"], p["at"]) for p in points] == [("clients", 1), ("clients", 3), ("size", 16)]
    assert all(p["images_per_second"] > 0 and p["errors"] == 0 for p in points)
