"""What bfloat16 loses, and when it is said to lose nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from diffusion.evaluation.card import read_precisions, read_quality
from diffusion.evaluation.precisions import is_lossless
from tests.diffusion.evaluation.runs import Run, arguments, evaluate

EXACT = {
    "frechet_difference": 0.01, "frechet_error": 0.01, "frechet_by_chance": 0.05,
    "bits_per_dim_difference": 0.001, "bits_per_dim_error": 0.0001,
}  # fmt: skip
"""What a report may say of a precision that loses nothing."""


@pytest.fixture(scope="module")
def compared(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small evaluation with --precisions."""
    return evaluate(tiny, data, tmp_path_factory.mktemp("precisions") / "out", "--precisions")


@pytest.mark.slow
def test_it_is_measured_on_the_same_images_in_both_precisions(compared: Run) -> None:
    found, first = compared.report["precisions"]["bfloat16"], compared.report["samplers"][0]
    assert found["sampler"] == first["sampler"] == "ddim:4" and found["images"] == 12
    assert found["frechet_float32"] == pytest.approx(first["frechet"])
    assert found["recognised_float32"] == first["recognised"]
    difference = found["frechet_bfloat16"] - found["frechet_float32"]
    assert found["frechet_difference"] == pytest.approx(difference)
    assert found["frechet_next_seed"] != found["frechet_float32"]
    assert 0 < found["rmse"] < 10 and found["bound_images"] == 3
    assert (
        0 < abs(found["bits_per_dim_difference"]) < 0.1 * compared.report["bound"]["test"]["total"]
    )
    assert found["lossless"] == is_lossless(found)


@pytest.mark.slow
def test_a_report_without_it_is_the_same_otherwise(compared: Run, run: Run) -> None:
    assert "precisions" not in run.report
    for name in ("bound", "floor", "nearest"):
        assert compared.report[name] == run.report[name]


@pytest.mark.slow
def test_the_report_and_the_terminal_say_what_it_loses(
    compared: Run, tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tiny, data, compared.folder, "--precisions")  # finished: read from its parts
    lossless = compared.report["precisions"]["bfloat16"]["lossless"]
    verdict = "loses nothing" if lossless else "may lose quality"
    assert f"bfloat16 {verdict}" in capsys.readouterr().out
    assert f"<h3>bfloat16 {verdict}" in (compared.folder / "report.html").read_text()
    assert "--precisions" in compared.report["command"]


def test_it_compares_with_float32_and_nothing_else(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tiny, data, tmp_path, "--precisions", "--precision=bfloat16")) == 2
    assert "precision: 'bfloat16' is not allowed with --precisions" in capsys.readouterr().err


def test_export_writes_it_on_the_card_and_leaves_the_quality_there(
    compared: Run, tiny: Path, tmp_path: Path
) -> None:
    report = str(compared.folder / "report.json")
    assert main(["export", str(tiny), str(tmp_path / "out"), "--report", report]) == 0
    card = json.loads((tmp_path / "out" / "model_card.json").read_text())
    found = card["precisions"]["bfloat16"]
    assert found["command"] == compared.report["command"] and found["machine"]
    assert {"lossless", "frechet_difference", "bits_per_dim_difference"} <= found.keys()
    before = json.loads((tiny / "model_card.json").read_text())
    assert card["quality"] == before["quality"]


def test_reports_of_both_kinds_are_told_apart(compared: Run, run: Run) -> None:
    paths = [each.folder / "report.json" for each in (run, compared)]
    sha256 = run.report["sha256"]
    assert read_quality(paths, sha256) == read_quality(paths[:1], sha256)
    assert read_quality(paths[1:], sha256) == {} == read_precisions(paths[:1], sha256)
    assert read_precisions(paths, sha256).keys() == {"bfloat16"}


@pytest.mark.parametrize(
    ("change", "lossless"),
    [
        ({}, True),
        ({"frechet_difference": -0.2}, True),
        ({"frechet_difference": 0.04}, False),  # + 1.96 x 0.01 is above what chance does
        ({"frechet_error": 0.03}, False),
        ({"bits_per_dim_difference": -0.0019}, False),  # by more, perhaps: + 1.96 x 0.0001
        ({"bits_per_dim_error": 0.001}, False),
        ({"bits_per_dim_error": None}, False),  # of one image
    ],
)
def test_it_loses_nothing_where_that_is_95_percent_sure(
    change: dict[str, Any], lossless: bool
) -> None:
    assert is_lossless({**EXACT, **change}) == lossless
