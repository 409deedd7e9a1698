"""benchmarks.sampling: a moment on a tiny network, ours beside diffusers' pipeline."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import sampling
from benchmarks.sampling_report import merged, ratio, tables


def cell(contender: str, size: int, *step_seconds: float) -> dict[str, object]:
    return {
        "network": "mnist", "precision": "float32", "contender": contender, "size": size,
        "step_seconds": list(step_seconds), "steps": 10, "error": None,
    }  # fmt: skip


FOUND = {
    "machine": {"cpu": "a processor"},
    "networks": {"mnist": {"parameters": 1000, "flops": 10**9, "peaks": {"float32": 1e12}}},
    "cells": [
        cell("ours", 1, 0.1, 0.2, 0.1), cell("ours", 4, 0.02, 0.02, 0.02),
        cell("diffusers", 1, 0.2, 0.8, 0.3), cell("diffusers", 4, 0.08, 0.04, 0.06),
        {**cell("lucidrains", 1), "error": "no module"},
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The command sets PyTorch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_short_run_prints_a_table_and_writes_json_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "sampling.json", tmp_path / "sampling.svg"
    who = ["ours", "eager", "diffusers", "diffusers-ddpm"]
    flags = ["--quick", "--threads=1", f"--out={out}", f"--plot={plot}"]
    assert sampling.main([*flags, "--contenders", *who]) == 0
    printed = capsys.readouterr().out
    assert "### tiny, float32" in printed and "| diffusers DDPMPipeline |" in printed
    found = json.loads(out.read_text())
    assert [(c["contender"], c["size"]) for c in found["cells"]] == [
        (name, size) for size in (1, 2) for name in who
    ]
    assert all(len(c["step_seconds"]) == 2 and c["error"] is None for c in found["cells"])
    assert plot.read_text().startswith("<?xml")


def test_the_tables_and_the_plot_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "sampling.json"
    saved.write_text(json.dumps(FOUND))
    plots = tmp_path / "one.svg", tmp_path / "two.svg"
    for plot in plots:
        assert sampling.main([f"--from={saved}", f"--plot={plot}"]) == 0
    assert tables(FOUND) in capsys.readouterr().out
    assert plots[0].read_bytes() == plots[1].read_bytes()


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, theirs = FOUND["cells"][0], FOUND["cells"][2]
    assert ratio(ours, theirs) == pytest.approx(3.0)  # of 2, 4 and 3
    assert ratio(ours, ours) is None


def test_the_table_has_rates_ratios_the_time_of_an_image_and_the_share_of_the_peak() -> None:
    lines = tables(FOUND).splitlines()
    assert "| our engine, DDIM | 10.0 | 200 | 5.00 | 200 | 20% |" in lines
    assert "| diffusers DDIMPipeline | 3.33 (3.00) | 66.7 (3.00) | 15.0 | 66.7 | 7% |" in lines
    assert "- lucidrains, mnist, float32, 1: no module" in lines


@pytest.mark.slow
def test_who_cannot_run_is_named_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "denoising_diffusion_pytorch", None)
    flags = ["--quick", "--threads=1", "--sizes=1"]
    assert sampling.main([*flags, "--contenders", "eager", "lucidrains"]) == 0
    printed = capsys.readouterr().out
    assert "our network in eager PyTorch" in printed
    assert "- lucidrains, tiny, float32, 1: " in printed


def test_runs_of_several_networks_or_precisions_are_one() -> None:
    half = {
        "machine": {}, "cells": [{**cell("ours", 1, 0.1), "precision": "bfloat16"}],
        "networks": {"mnist": {"parameters": 1000, "flops": 10**9, "peaks": {"bfloat16": 2e12}}},
    }  # fmt: skip
    again = {**half, "networks": {"mnist": {**half["networks"]["mnist"], "peaks": {"float32": 1}}}}
    both = merged([FOUND, half, {**again, "cells": []}])
    assert both["networks"]["mnist"]["peaks"] == {"float32": 1e12, "bfloat16": 2e12}
    text = tables(both)
    assert "### mnist, float32" in text and "### mnist, bfloat16" in text
