"""A report as files: the page that shows it all, the plots, and the summary for a model card."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.evaluation.report import ReportError, page, read_quality
from tests.diffusion.evaluation.runs import Run, evaluate


def test_the_page_shows_it_all_and_loads_nothing_from_elsewhere(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert page.count("<svg") == 3 and page.count("<img") == 4
    assert f"{run.report['bound']['test']['total']:.4g}" in page
    assert "The floor is that of 12 images" in page
    assert all(row["sampler"] in page for row in run.report["samplers"])
    sources = re.findall(r"""(?:src|href)=["']([^"'#]+)""", page)
    assert sources and all(source.startswith("data:") for source in sources)


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
    evaluate(tiny, data, out, "--terms=2", "--samples=2", "--sampler", "ddim:1")
    assert not (out / "terms.png").exists() and not (out / "rate-distortion.png").exists()
    page = (out / "report.html").read_text()
    assert "No curves over t" in page and "Progressive coding" not in page


def test_the_times_on_the_page_say_what_they_count(run: Run) -> None:
    shown = (run.folder / "report.html").read_text()
    assert "<th>images/s</th><th>CPU s</th>" in shown
    assert "images/s counts the time that elapsed" in shown


def test_a_report_of_an_older_version_is_shown_without_what_it_lacks(run: Run) -> None:
    report = copy.deepcopy(run.report)
    for row in report["samplers"]:
        del row["processor_seconds"], row["recognised"]
    picture = np.zeros((8, 8, 1), np.uint8)
    names = ["progressive", "nearest", *(row["sampler"] for row in report["samplers"])]
    shown = page(report, dict.fromkeys(names, picture))
    assert "<th>images/s</th></tr>" in shown and "CPU s</th>" not in shown


def test_a_report_is_summed_up_for_the_card_of_its_weights_alone(run: Run) -> None:
    path = run.folder / "report.json"
    quality = read_quality([path], run.report["sha256"])
    assert quality["bits_per_dim"] == run.report["bound"]
    assert quality["samplers"].keys() == {"ddim:4", "dpmpp:3"}
    assert "seconds" not in quality["samplers"]["ddim:4"]
    with pytest.raises(ReportError, match="is of the weights .*, not of these, 0000"):
        read_quality([path], "0000")


@pytest.mark.parametrize("text", ["{}", "[", json.dumps({"sha256": "0000"})])
def test_a_file_that_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ReportError, match="not a report of `ddpm evaluate`"):
        read_quality([path], "0000")
