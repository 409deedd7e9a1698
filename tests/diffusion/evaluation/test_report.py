"""A report as files: the page that shows it all, and its tables and pictures beside it."""

from pathlib import Path

import numpy as np

from diffusion.evaluation.report import summary, write
from tests.diffusion.evaluation.runs import Run

PICTURE = np.zeros((8, 8, 1), np.uint8)


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
