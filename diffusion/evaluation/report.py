"""An evaluation as files: report.json, tables, pictures, and the page report.html."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.evaluation import tables
from diffusion.evaluation.citations import bibtex
from diffusion.evaluation.page import accuracy, page, png
from diffusion.evaluation.plots import plots

Array = np.ndarray


def write(report: Mapping[str, Any], folder: Path) -> Path:
    """Write report.json, .html, .csv, .tex and .bib, and the pictures; return the page's path."""
    grids: Mapping[str, Array] = report["grids"]
    numbers = {name: value for name, value in report.items() if name != "grids"}
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    made = tables.tables(numbers)
    (folder / "report.csv").write_text(tables.as_csv(made))
    (folder / "report.tex").write_text(tables.as_latex(made))
    (folder / "report.bib").write_text(bibtex(numbers))
    for name, grid in grids.items():
        (folder / f"{name.replace(':', '-').replace('/', '-')}.png").write_bytes(png(grid))
    for name, figure in plots(numbers).items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    path = folder / "report.html"
    path.write_text(page(numbers, grids))
    return path


def summary(report: Mapping[str, Any]) -> str:
    """Write the bound, the classifier's accuracy and the samples' table, for a terminal."""
    lines = [tables.as_text(tables.bound(report)), ""]
    if report["classifier"]:
        lines += [accuracy(report), ""]
    lines.append(tables.as_text(tables.samples(report)))
    precisions = tables.precisions(report)
    if precisions is not None:
        lines += ["", f"{precisions.title}:", tables.as_text(precisions)]
    return "\n".join(lines)
