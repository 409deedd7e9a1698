"""The tables of a GPU session."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu_report
from benchmarks.gpu.results import Results
from benchmarks.gpu.targets import targets

PEAK = {"step": "card", "kind": "peak", "precision": "bfloat16", "flops": 800e12}
ENGINE = {
    "step": "engine", "kind": "engine", "network": "paper", "runtime": "slots",
    "precision": "bfloat16", "chains": 512, "steps": 50, "seconds": 1.0,
    "image_steps_per_second": 25_600, "flops_per_second": 320e12,
}  # fmt: skip
ALONE = {**ENGINE, "chains": 1, "image_steps_per_second": 1000, "flops_per_second": 1e12}
PEER = {
    "step": "peers", "kind": "peer", "network": "paper", "contender": "diffusers-compiled",
    "size": 256, "image_steps_per_second": 10_000, "chain_seconds": 1.0, "flops_per_second": 1e14,
}  # fmt: skip
LONG = {"step": "engine", "kind": "long", "network": "paper", "runtime": "slots", "images": 256,
        "steps": 1000, "seconds": 12.5, "measured": True}  # fmt: skip
BESIDE = {"step": "serving", "kind": "http-beside", "large": 256, "alone_p50": 0.01,
          "alone_p95": 0.02, "beside_p50": 0.02, "beside_p95": 0.03, "errors": 0}  # fmt: skip


def line_of(results: list[dict[str, object]], start: str) -> str:
    (line,) = [row for row in targets(Results(results)).splitlines() if row.startswith(start)]
    return line


def test_what_was_not_measured_waits() -> None:
    rows = targets(Results([])).splitlines()[4:]
    assert len(rows) == 8 and all("not measured yet" in row for row in rows)


def test_each_target_stands_beside_what_was_measured() -> None:
    found = [PEAK, ENGINE, ALONE, PEER, {**PEER, "size": 1, "image_steps_per_second": 50}]
    assert line_of(found, "| the paper's network, bfloat16").endswith("| 40.0% | yes |")
    assert line_of(found, "| the paper's network: times").endswith("| 2.56 | no |")
    assert line_of(found, "| the same for one image").endswith("| 20.0 | yes |")
    assert line_of([LONG], "| the paper's network: 256").endswith("| 12.5 s | yes |")
    bare = {"kind": "bare", "network": "paper", "steps": 50, "share": 0.951}
    assert line_of([bare], "| the paper's network: the engine's").endswith("| 95.1% | yes |")
    assert line_of([bare], "| the same, 1000 steps").endswith("| not measured yet |  |")
    http = {"kind": "http", "network": "mnist", "image_steps_per_second": 9876.5}
    assert line_of([http], "| models/mnist over HTTP").endswith("| 9,876 | no |")
    assert line_of([BESIDE], "| p95 of one image").endswith("| 1.50 | yes |")


def test_a_prediction_is_no_measurement() -> None:
    predicted = {**LONG, "measured": False}
    assert "not measured yet" in line_of([predicted], "| the paper's network: 256")


def test_of_what_was_measured_again_the_last_counts() -> None:
    again = {**ENGINE, "seconds": 2.0}
    text = gpu_report.report(Results([PEAK, ENGINE, again]))
    assert "| paper | slots | bfloat16 | 512 | 50 | 2.00 | 25600 | 320 | 40% |" in text
    assert "| 1.00 |" not in text


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(PEAK) + "\n" + json.dumps(ENGINE)[:30])
    assert Results.read(path).lines == [PEAK]


def test_the_tables_go_between_the_comments_of_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    results.write_text(json.dumps(PEAK) + "\n")
    page.write_text(f"before\n\n{gpu_report.BEGIN}\nearlier\n{gpu_report.END}\n\nafter\n")
    for _ in range(2):  # as often as one likes
        assert gpu_report.main([str(results), f"--into={page}"]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "earlier" not in text
    assert text.count("### Matrix peak") == 1
    page.write_text("no comments")
    assert gpu_report.main([str(results), f"--into={page}"]) == 2
    assert "it must have the lines" in capsys.readouterr().err
