"""The page of an evaluation: it shows the whole report, and loads nothing from elsewhere."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffusion import __version__
from diffusion.evaluation.page import page
from diffusion.evaluation.tables import Measured
from tests.diffusion.evaluation.runs import Run, evaluate

PICTURE = np.zeros((8, 8, 1), np.uint8)


def grids(report: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A picture of each name that a page of the report asks for."""
    names = ["progressive", "nearest", *(row["sampler"] for row in report["samplers"])]
    return dict.fromkeys(names, PICTURE)


def test_the_page_shows_it_all_and_loads_nothing_from_elsewhere(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert page.count("<svg") == 3 and page.count("<img") == 4
    bound = run.report["bound"]["test"]
    assert str(Measured(bound["total"], bound["standard_error"])) in page
    assert "10 sets of 12 real images of the other half" in page
    assert all(row["sampler"] in page for row in run.report["samplers"])
    sources = re.findall(r"""(?:src|href)=["']([^"'#]+)""", page)
    assert sources and all(source.startswith("data:") for source in sources)


def test_the_page_says_what_was_measured_how_and_how_to_cite_it(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert f"ddpm-service {__version__}" in page and run.report["date"] in page
    assert run.report["command"].startswith("ddpm evaluate ")
    assert run.report["command"] in page and run.report["machine"] in page
    assert "<td>dark</td>" in page, "classes by their names"
    assert "@inproceedings{chong2020effectively" in page
    for caveat in run.report["warnings"]:
        assert caveat in page


def test_the_times_on_the_page_say_what_they_count(run: Run) -> None:
    shown = (run.folder / "report.html").read_text()
    assert "<th>images/s</th><th>CPU s</th>" in shown
    assert "images/s counts the time that elapsed" in shown


def test_a_report_of_an_older_version_is_shown_without_what_it_lacks(run: Run) -> None:
    report = copy.deepcopy(run.report)
    for row in report["samplers"]:
        for name in ("processor_seconds", *(key for key in row if key.startswith("recognised"))):
            del row[name]
        del row["frechet_interval"], row["frechet_infinity"]
    report["floor"] = {"images": 12, "frechet": 1.5}
    for name in ("version", "date", "data", "classes", "estimators", "curves_of", "classifier"):
        del report[name]
    del report["warnings"], report["dimensions"]
    shown = page(report, grids(report))
    assert "<th>images/s</th></tr>" in shown and "CPU s</th>" not in shown
    assert "The floor is that of 12 images of the other half" in shown


def test_two_estimators_stand_side_by_side(tiny: Path, data: Path, tmp_path: Path) -> None:
    flags = ("--images=6", "--terms=10", "--full=4", "--samples=10", "--sampler", "ddim:1")
    evaluate(tiny, data, tmp_path / "report", *flags)
    shown = (tmp_path / "report" / "report.html").read_text()
    assert "the two differ by" in shown
    assert "<td>the difference of these</td><td>4</td>" in shown


def test_what_people_named_is_text_on_the_page(run: Run) -> None:
    report = copy.deepcopy(run.report)
    report["checkpoint"] = report["command"] = report["machine"] = "<b>&</b>"
    report["classes"] = ["<i>", "light"]
    report["warnings"] = ["<script>alert(1)</script>"]
    report["by_timestep"]["eps_mse"][0] = 0.0  # no curves: they take long to draw
    shown = page(report, grids(report))
    assert "<title>&lt;b&gt;&amp;&lt;/b&gt;: evaluation</title>" in shown
    assert "<dd>&lt;i&gt;, light</dd>" in shown and "<td>&lt;i&gt;</td>" in shown
    assert "<li>&lt;script&gt;alert(1)&lt;/script&gt;</li>" in shown
    assert not any(tag in shown for tag in ("<b>", "<i>", "<script"))


def test_without_samples_caveats_or_neighbours_their_sections_are_left_out(run: Run) -> None:
    report = {**run.report, "samplers": [], "warnings": []}
    del report["nearest"]
    shown = page(report, grids(report))
    titles = re.findall("<h2>(.+?)</h2>", shown)
    assert titles == ["The bound on the negative log likelihood", "How to cite"]
    assert "<aside" not in shown


def test_where_some_t_has_no_term_there_are_no_curves(run: Run) -> None:
    report = copy.deepcopy(run.report)
    report["by_timestep"]["eps_mse"][3] = 0.0
    shown = page(report, grids(report))
    assert "No curves over t" in shown and "the paper's Fig. 5" not in shown
    assert shown.count("<svg") == 1, "that of the distances"


def test_the_bound_of_training_images_is_called_so(run: Run) -> None:
    report = {**run.report, "curves_of": "train", "samplers": []}
    shown = page(report, grids(report))
    assert "Lossy compression of training images" in shown and "of test images" not in shown
