"""What an evaluation measures, on a tiny model and data set; and how samplers are named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from diffusion import pixels
from diffusion.bound import Reverse, bound
from diffusion.data import datasets
from diffusion.evaluation.cache import EvaluationError
from diffusion.evaluation.evaluate import Sampler
from diffusion.sampling import Source
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


def test_the_bound_is_that_of_the_model_on_those_images(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    flags = ("--images=12", "--samples=2", "--sampler", "ddim:1", "--runtime=openvino")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    source, test = Source.open(tiny, "cpu", "eager"), datasets.load(str(data), "test")
    process = source.checkpoint.process
    reverse = Reverse(source.model, source.process, process.variance, process.clip)
    terms = bound(reverse, pixels.to_model(test.pixels), test.labels, seed=9).bits_per_dim()
    # the same images in another order, so with other noise
    assert report["bound"]["test"]["total"] == pytest.approx(terms.total.mean().item(), rel=0.05)
    assert report["bound"]["test"]["prior"] == pytest.approx(terms.prior.mean().item())


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


def test_one_image_has_no_standard_error(tiny: Path, data: Path, tmp_path: Path) -> None:
    flags = ("--images=1", "--terms=2", "--samples=2", "--sampler", "ddim:1")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    assert report["bound"]["test"]["standard_error"] is None


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


def test_a_sampler_is_a_name_its_steps_and_its_guidance() -> None:
    assert Sampler.parse("ddpm", 1000) == ("ddpm", 1000, 0)
    assert Sampler.parse("ddim", 1000) == ("ddim", 50, 0)
    assert Sampler.parse("ddim@1.5", 1000) == ("ddim", 50, 1.5)
    assert str(Sampler.parse("ddim:7@1.50", 1000)) == "ddim:7@1.5"
    assert str(Sampler.parse("dpmpp:7", 1000)) == "dpmpp:7"
    for wrong, reason in (
        ("euler:5", "'euler' is not ddpm, ddim or dpmpp"),
        ("ddim:0", "steps must be 1..1000"),
        ("ddim:1001", "steps must be 1..1000"),
        ("ddim:many", "steps must be 1..1000"),
        ("ddim:5@-1", "guidance must be a number, 0 or more"),
        ("ddim:5@nan", "guidance must be a number, 0 or more"),
    ):
        with pytest.raises(EvaluationError, match=reason):
            Sampler.parse(wrong, 1000)
