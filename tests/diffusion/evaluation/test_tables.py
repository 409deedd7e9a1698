"""A report's tables: as text, as LaTeX, and as CSV."""

import csv
import io

from diffusion.evaluation import tables
from diffusion.evaluation.tables import Measured, Table, as_csv, as_latex, as_text
from tests.diffusion.evaluation.runs import Run

TABLE = Table(
    "Shares & more",
    ("what", "images", "share"),
    (
        ("a_b", 12, Measured(0.51234, error=0.0123)),
        ("100%", 7, Measured(0.25, interval=(0.125, 0.5))),
        ("c", None, 0.00012345),
    ),
)


def test_numbers_have_four_digits_and_their_spread() -> None:
    assert as_text(TABLE).splitlines() == [
        "what  images             share",
        "a_b       12     0.512 ± 0.012",
        "100%       7  0.25 (0.12–0.50)",
        "c          -          1.23e-04",
    ]
    assert str(Measured(0.000613, error=0.0000963)) == "0.000613 ± 0.000096"
    assert str(Measured(123.4, error=56.7)) == "123 ± 57"
    assert str(Measured(1.0, interval=(0.98113, 1.0))) == "1.0000 (0.9811–1.0000)"
    assert str(Measured(0.5, error=0.0)) == str(Measured(0.5, interval=(0.5, 0.5))) == "0.5"


def test_latex_is_escaped() -> None:
    lines = as_latex([TABLE]).splitlines()
    assert r"  \caption{Shares \& more}" in lines
    assert r"    a\_b & 12 & 0.512 $\pm$ 0.012 \\" in lines
    assert r"    100\% & 7 & 0.25 (0.12--0.50) \\" in lines
    assert lines[2] == r"  \begin{tabular}{lrr}"


def test_csv_has_a_line_for_each_number_unrounded() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv([TABLE]))))
    assert len(lines) == 5, "and none for what is missing"
    assert lines[1] == {
        "table": "Shares & more", "row": "a_b", "column": "share",
        "value": "0.51234", "error": "0.0123", "low": "", "high": "",
    }  # fmt: skip
    assert (lines[3]["value"], lines[3]["low"], lines[3]["high"]) == ("0.25", "0.125", "0.5")


def test_the_floor_stands_above_the_samplers(run: Run) -> None:
    found = tables.samples(run.report)
    assert [row[0] for row in found.rows] == ["real images (floor)", "ddim:4", "dpmpp:3"]
    floor, ddim = (dict(zip(found.columns, row, strict=True)) for row in found.rows[:2])
    assert floor["recall"].error == run.report["floor"]["recall_deviation"]
    assert floor["recognised"] is None
    distance = ddim["Fréchet distance"]
    assert distance.interval == tuple(run.report["samplers"][0]["frechet_interval"])


def test_recognition_is_told_by_the_classes_names(run: Run) -> None:
    found = tables.by_class(run.report)
    assert [row[0] for row in found.rows] == ["dark", "light"]
    assert found.rows[0][1] == run.report["samplers"][0]["recognised_by_label"][0]
    assert found.columns == ("class", "ddim:4", "dpmpp:3")


def test_the_two_estimators_are_told_where_both_were_used(run: Run) -> None:
    assert tables.estimators(run.report) is None
    found = {
        "images": 4, "full": 1.5, "full_error": 0.2, "terms": 1.6, "terms_error": 0.25,
        "difference": 0.1, "difference_error": 0.05,
    }  # fmt: skip
    settings = {**run.report["settings"], "num_terms": 10}
    made = tables.estimators({**run.report, "estimators": found, "settings": settings})
    assert made is not None and [row[0] for row in made.rows] == [
        "all terms of each image", "10 terms of each, the same images", "the difference of these",
        "10 terms of each, all images",
    ]  # fmt: skip
    assert made.rows[2][2] == Measured(0.1, 0.05)


def test_times_are_told_apart_from_quality(run: Run) -> None:
    row = run.report["samplers"][0]
    assert tables.times(run.report).rows[0] == (
        "ddim:4", row["images_per_second"], row["processor_seconds"]
    )  # fmt: skip
