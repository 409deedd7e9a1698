"""What an evaluation measures, on a tiny model and data set."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from tests.diffusion.evaluation.runs import Run, evaluate


def test_the_report_has_the_bound_the_distances_and_their_floor(run: Run) -> None:
    report = run.report
    for split in ("train", "test"):
        found = report["bound"][split]
        assert found["images"] == 3
        parts = found["prior"] + found["denoising"] + found["decoder"]
        assert found["total"] == pytest.approx(parts)
    assert [len(values) for values in report["by_timestep"].values()] == [50] * 4
    assert [row["sampler"] for row in report["samplers"]] == ["ddim:4", "dpmpp:3"]
    for row in report["samplers"]:
        assert row["images"] == 12
        assert 0 <= row["precision"] <= 1 and 0 <= row["recall"] <= 1
        assert row["frechet"] > report["floor"]["frechet"] >= 0
        assert 0 <= row["recognised"] <= 1
    assert report["nearest"]["samples_least"] > 0
    times = [row["t"] for row in report["progressive"]]
    assert (times[0], times[-1]) == (50, 1) and times == sorted(times, reverse=True)
    assert all(row["rmse"] > 0 for row in report["progressive"])


class Clock:
    """Stands for the module `time`: between two looks 6 seconds pass, 2 of them at work."""

    def __init__(self) -> None:
        self.elapsed = self.used = 0.0

    def monotonic(self) -> float:
        self.elapsed += 6.0
        return self.elapsed

    def process_time(self) -> float:
        self.used += 2.0
        return self.used


def test_elapsed_time_and_the_processors_are_told_apart(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.evaluation.evaluate.time", Clock())
    flags = ("--images=1", "--terms=2", "--sampler", "ddim:1")
    (row,) = evaluate(tiny, data, tmp_path / "report", *flags).report["samplers"]
    assert (row["seconds"], row["processor_seconds"]) == (3 * 6.0, 3 * 2.0), "three batches"
    assert row["images_per_second"] == 12 / 18


def test_parts_of_an_older_version_have_no_processor_time(
    tiny: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    shutil.copytree(run.folder, out)
    path = out / "samples-ddim-4-000000.npz"
    with np.load(path) as file:
        older = {name: file[name] for name in file.files if name != "processor_seconds"}
    np.savez(path, **older)
    (ddim, dpmpp) = evaluate(tiny, data, out).report["samplers"]
    assert ddim["processor_seconds"] is None and ddim["seconds"] > 0
    assert dpmpp == run.report["samplers"][1]


def test_a_guided_sampler_is_measured_beside_the_plain_one(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    flags = ("--images=1", "--terms=2", "--sampler", "ddim:4", "ddim:4@2.5")
    plain, guided = evaluate(tiny, data, out, *flags).report["samplers"]
    assert (plain["sampler"], guided["sampler"]) == ("ddim:4", "ddim:4@2.5")
    assert plain["frechet"] != guided["frechet"]
    asked = ["--n=5", "--label", "0", "1", "0", "1", "0", "--sampler=ddim", "--steps=4"]
    made = ["--guidance=2.5", "--runtime=eager", f"--out={tmp_path / 'made.npz'}"]
    assert main(["sample", str(tiny), *asked, *made]) == 0
    part = np.load(out / "samples-ddim-4@2.5-000000.npz")["images"]
    expected = np.load(tmp_path / "made.npz")["images"]
    np.testing.assert_array_equal(np.moveaxis(part, 1, -1), expected)
