"""A report as files: the page that shows it all, and its tables and pictures beside it."""

import copy
import re
from pathlib import Path

import numpy as np

from diffusion import __version__
from diffusion.evaluation.page import page
from diffusion.evaluation.report import summary, write
from diffusion.evaluation.tables import Measured
from tests.diffusion.evaluation.runs import Run, evaluate

PICTURE = np.zeros((8, 8, 1), np.uint8)


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


def test_tables_and_entries_are_files_too(run: Run) -> None:
    assert "\\begin{tabular}" in (run.folder / "report.tex").read_text()
    assert "\nSamples,ddim:4,Fréchet distance," in (run.folder / "report.csv").read_text()
    assert "@inproceedings{ho2020denoising" in (run.folder / "report.bib").read_text()


def test_the_picture_of_a_spacing_is_a_file_too(run: Run, tmp_path: Path) -> None:
    samplers = [row["sampler"] for row in run.report["samplers"]]
    names = ["unipc:5/karras@0.5", "progressive", "nearest", *samplers]
    write({**run.report, "grids": dict.fromkeys(names, PICTURE)}, tmp_path)
    assert (tmp_path / "unipc-5-karras@0.5.png").is_file()


def test_a_terminal_gets_the_bound_the_accuracy_and_the_samples(run: Run) -> None:
    shown = summary(run.report)
    assert "bits/dim" in shown and "real images (floor)" in shown and "ddim:4" in shown
    assert "The classifier recognises " in shown and "of 12 test images" in shown


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
    names = ["progressive", "nearest", *(row["sampler"] for row in report["samplers"])]
    shown = page(report, dict.fromkeys(names, PICTURE))
    assert "<th>images/s</th></tr>" in shown and "CPU s</th>" not in shown
    assert "The floor is that of 12 images of the other half" in shown


def test_two_estimators_stand_side_by_side(tiny: Path, data: Path, tmp_path: Path) -> None:
    flags = ("--images=6", "--terms=10", "--full=4", "--samples=10", "--sampler", "ddim:1")
    evaluate(tiny, data, tmp_path / "report", *flags)
    shown = (tmp_path / "report" / "report.html").read_text()
    assert "the two differ by" in shown
    assert "<td>the difference of these</td><td>4</td>" in shown
