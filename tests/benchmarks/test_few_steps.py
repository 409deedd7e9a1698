"""The table of few steps, of reports that are there."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.few_steps import LINES, Line, evaluate, steps_of, table

REPORT = {
    "samplers": [
        {"sampler": "unipc:5/tuned@0.5", "frechet": 0.25},
        {"sampler": "unipc:8/tuned@0.5", "frechet": 0.2},
    ]
}


def test_a_line_is_written_as_evaluate_reads_it() -> None:
    assert Line.parse("unipc/tuned").at(8, 0.5) == "unipc:8/tuned@0.5"
    assert Line.parse("ddim/even").at(50, 0.0) == "ddim:50"
    assert len(LINES) == 4 * 5
    with pytest.raises(argparse.ArgumentTypeError, match="'ddpm/even' is none of ddim/even, "):
        Line.parse("ddpm/even")


def test_ddim_is_measured_with_its_usual_steps_too() -> None:
    assert steps_of(Line("ddim", "even"), [8, 5]) == [5, 8, 50]
    assert steps_of(Line("ddim", "tuned"), [8, 5]) == [5, 8]


def test_the_table_has_a_row_for_each_line_and_empty_cells() -> None:
    assert table([(Line("unipc", "tuned"), REPORT)], [5, 8, 50]) == (
        "| sampler | spacing | 5 | 8 | 50 |\n| --- | --- | --- | --- | --- |\n"
        "| unipc | tuned | 0.250 | 0.200 |  |"
    )


def test_a_finished_line_is_read_and_not_measured_again(tmp_path: Path) -> None:
    (tmp_path / "unipc-tuned").mkdir()
    (tmp_path / "unipc-tuned" / "report.json").write_text(json.dumps(REPORT))
    assert evaluate(Line("unipc", "tuned"), argparse.Namespace(out=tmp_path)) == REPORT


@pytest.mark.slow
def test_a_failure_of_the_evaluation_ends_the_benchmark_with_its_message_alone(
    tmp_path: Path,
) -> None:
    """The data set is not there: what `ddpm evaluate` says of it is all that there is to say."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.few_steps", "mnist", "--out", str(tmp_path / "out"),
         "--data", str(tmp_path / "none"), "--lines", "ddim/even"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert str(tmp_path / "none") in ended.stderr
    assert "Traceback" not in ended.stderr
