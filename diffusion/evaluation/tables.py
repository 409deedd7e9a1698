"""The tables of a report: what each holds, and how it is written as text, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """A number with what is known of its spread."""

    value: float
    error: float | None = None  # a standard error, or a deviation
    interval: tuple[float, float] | None = None  # of 95%

    def __str__(self) -> str:
        """Write it to the second digit of its spread."""
        if self.error:
            digits = _digits(self.error)
            return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"
        if self.interval is not None and self.interval[0] < self.interval[1]:
            low, high = self.interval
            digits = _digits((high - low) / 2)
            return f"{self.value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
        return number(self.value)


def _digits(spread: float) -> int:
    """The digits after the point of numbers that are so uncertain."""
    return max(1 - math.floor(math.log10(spread)), 0)


Cell = Measured | str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under titles; the first cell of a row names it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def number(value: float) -> str:
    """Write a number to four digits; small ones as powers of ten."""
    return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:.4g}"


def text(cell: Cell) -> str:
    """Write a cell as plain text."""
    if cell is None:
        return "-"
    return number(cell) if isinstance(cell, float) else str(cell)


# What is in the tables


def bound(report: Mapping[str, Any]) -> Table:
    """Make the table of the bound, a row for each split."""
    rows = [
        (
            split, row["images"], Measured(row["total"], row["standard_error"]),
            row["prior"], row["denoising"], row["decoder"],
        )
        for split, row in report["bound"].items()
    ]  # fmt: skip
    columns = ("split", "images", "bits/dim", "L_T", "L_1 … L_T-1", "L_0")
    return Table("The bound on the negative log likelihood", columns, tuple(rows))


def estimators(report: Mapping[str, Any]) -> Table | None:
    """Make the table that compares the two estimators of the bound; None where only one was used.

    Its last row is of all images, and the others of those that both were used on.
    """
    found = report.get("estimators")
    if not found:
        return None
    terms, all_images = report["settings"]["num_terms"], report["bound"]["test"]
    rows = [
        ("all terms of each image", found["images"], Measured(found["full"], found["full_error"])),
        (
            f"{terms} terms of each, the same images",
            found["images"],
            Measured(found["terms"], found["terms_error"]),
        ),
        (
            "the difference of these",
            found["images"],
            Measured(found["difference"], found["difference_error"]),
        ),
        (
            f"{terms} terms of each, all images",
            all_images["images"],
            Measured(all_images["total"], all_images["standard_error"]),
        ),
    ]
    return Table("Two estimators of the bound", ("estimator", "images", "bits/dim"), tuple(rows))


SAMPLES = {  # the row's key, and the column's title
    "frechet": "Fréchet distance",
    "frechet_infinity": "for N → ∞",
    "precision": "precision",
    "recall": "recall",
    "recognised": "recognised",
}
TIMES = {"images_per_second": "images/s", "processor_seconds": "CPU s"}


def samples(report: Mapping[str, Any]) -> Table:
    """Make the table of the samplers, under a row of the floor."""
    every = [report["floor"], *report["samplers"]]
    shown = [key for key in SAMPLES if any(key in row for row in every)]
    rows = [
        (name, row["images"], *(_measured(row, key) for key in shown))
        for name, row in (
            ("real images (floor)", report["floor"]),
            *((row["sampler"], row) for row in report["samplers"]),
        )
    ]
    return Table(
        "Samples", ("sampler:steps", "images", *(SAMPLES[key] for key in shown)), tuple(rows)
    )


def precisions(report: Mapping[str, Any]) -> Table | None:
    """Make the table of what bfloat16 loses; None where that was not measured."""
    found = report.get("precisions", {}).get("bfloat16")
    if not found:
        return None
    distance = Measured(found["frechet_difference"], found["frechet_error"])
    bits = Measured(found["bits_per_dim_difference"], found["bits_per_dim_error"])
    shares = [found.get(f"recognised_{name}") for name in ("float32", "bfloat16", "next_seed")]
    rows: list[tuple[Cell, ...]] = [
        (
            "Fréchet distance", found["frechet_float32"], found["frechet_bfloat16"],
            found["frechet_next_seed"], distance, found["frechet_by_chance"],
        ),
        ("recognised", *shares, None, None),
        ("bits/dim", None, None, None, bits, None),
        ("RMSE of the images", None, None, None, found["rmse"], None),
    ]  # fmt: skip
    columns = ("", "float32", "bfloat16", "float32, next seed", "bfloat16 - float32", "by chance")
    verdict = "loses nothing" if found["lossless"] else "loses quality"
    title = f"bfloat16 {verdict} ({found['sampler']}, {found['images']} samples)"
    return Table(title, columns, tuple(rows))


def times(report: Mapping[str, Any]) -> Table:
    """Make the table of how long the samplers took."""
    shown = [key for key in TIMES if any(key in row for row in report["samplers"])]
    rows = [(row["sampler"], *(row.get(key) for key in shown)) for row in report["samplers"]]
    return Table("Time", ("sampler:steps", *(TIMES[key] for key in shown)), tuple(rows))


def _measured(row: Mapping[str, Any], key: str) -> Cell:
    value: float | None = row.get(key)
    if value is None:
        return None
    interval = row.get(f"{key}_interval")
    return Measured(value, row.get(f"{key}_deviation"), tuple(interval) if interval else None)


def by_class(report: Mapping[str, Any]) -> Table | None:
    """Make the table of the share recognised of each class; None where nothing was recognised."""
    rows = [row for row in report["samplers"] if "recognised_labels" in row]
    if not rows:
        return None
    labels: list[int] = rows[0]["recognised_labels"]
    lines = [
        (report["classes"][label], *(row["recognised_by_label"][place] for row in rows))
        for place, label in enumerate(labels)
    ]
    columns = ("class", *(row["sampler"] for row in rows))
    return Table("Recognised, by class", columns, tuple(lines))


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Make all tables of a report."""
    made = (
        bound(report), estimators(report), samples(report), by_class(report), precisions(report),
        times(report),
    )  # fmt: skip
    return [table for table in made if table is not None]


# How they are written


def as_text(table: Table) -> str:
    """Write a table for a terminal, its columns aligned."""
    lines = [table.columns, *([text(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_csv(made: Sequence[Table]) -> str:
    """Write tables as one CSV, a line for each number, unrounded, with its spread."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "error", "low", "high"))
    for table in made:
        writer.writerows(_csv_rows(table))
    return buffer.getvalue()


def _csv_rows(table: Table) -> Iterator[tuple[object, ...]]:
    for name, *cells in table.rows:
        for column, cell in zip(table.columns[1:], cells, strict=True):
            if isinstance(cell, Measured):
                low, high = cell.interval or (None, None)
                yield table.title, name, column, cell.value, cell.error, low, high
            elif cell is not None:
                yield table.title, name, column, cell, None, None, None


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "…": r"\ldots{}", "–": "--", "→": r"$\to$", "∞": r"$\infty$",
}  # fmt: skip


def as_latex(made: Sequence[Table]) -> str:
    """Write tables as LaTeX, for the package booktabs."""
    return "\n".join(_latex(table) for table in made)


def _latex(table: Table) -> str:
    lines = [
        r"\begin{table}",
        rf"  \caption{{{_escaped(table.title)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        _latex_row(table.columns),
        r"    \midrule",
        *(_latex_row(row) for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[Cell]) -> str:
    return f"    {' & '.join(_escaped(text(cell)) for cell in cells)} \\\\"


def _escaped(plain: str) -> str:
    return "".join(LATEX.get(character, character) for character in plain)
