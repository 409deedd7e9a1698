"""The plots of a report."""

from pathlib import Path

import pytest
from PIL import Image

from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.plots import check_plots, plots, svg
from tests.diffusion.evaluation.runs import Run, evaluate


def test_every_picture_is_a_file_too(run: Run) -> None:
    for name in ("ddim-4", "dpmpp-3", "nearest", "progressive"):
        with Image.open(run.folder / f"{name}.png") as grid:
            assert grid.width >= 8
    for name in ("rate-distortion", "terms", "distance-by-steps"):
        with Image.open(run.folder / f"{name}.png") as plot:
            assert plot.width > 500


def test_curves_over_t_are_drawn_only_where_every_t_has_a_term(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    evaluate(tiny, data, out, "--terms=2", "--samples=10", "--sampler", "ddim:1")
    assert not (out / "terms.png").exists() and not (out / "rate-distortion.png").exists()
    page = (out / "report.html").read_text()
    assert "No curves over t" in page and "Progressive coding" not in page


def test_the_floor_and_each_samplers_interval_are_in_the_plot_of_distances(run: Run) -> None:
    (axes,) = plots(run.report)["distance-by-steps"].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["ddim", "dpmpp", "floor"]
    row = run.report["samplers"][0]
    (bar,) = axes.containers[0].lines[2]
    assert bar.get_segments()[0][:, 1] == pytest.approx(row["frechet_interval"])
    assert svg(axes.figure).startswith("<svg")


def test_a_report_of_an_older_version_is_drawn_without_intervals(run: Run) -> None:
    row = {"sampler": "ddim:4", "frechet": 2.0}
    older = {**run.report, "samplers": [row], "floor": {"images": 12, "frechet": 1.0}}
    assert "distance-by-steps" in plots(older)


def test_without_the_library_it_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    check_plots()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EvaluationError, match="matplotlib is not installed"):
        check_plots()
