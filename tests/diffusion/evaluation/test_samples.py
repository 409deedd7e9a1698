"""An evaluation's samples: those of `ddpm sample`, made in parts, and timed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from tests.diffusion.evaluation.runs import Run, evaluate


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
    monkeypatch.setattr("diffusion.evaluation.samples.time", Clock())
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
