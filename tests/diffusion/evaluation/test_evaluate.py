"""`ddpm evaluate`, end to end on a tiny model and data set; and its pieces."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion import pixels
from diffusion.bound import Reverse, bound
from diffusion.checkpoint import open_checkpoint
from diffusion.data import datasets
from diffusion.evaluation.cache import EvaluationError, Parts
from diffusion.evaluation.evaluate import Sampler
from diffusion.sampling import Source
from tests.tiny import save_tiny

FLAGS = [
    "--runtime=eager",
    "--images=3",
    "--samples=12",
    "--batch-size=5",
    "--sampler",
    "ddim:4",
    "dpmpp:3",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images of two classes, in `train/` and `test/`."""
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 6)):
        for k, name in enumerate(("dark", "light")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = random.integers(100 * k, 100 + 100 * k, (8, 8), np.uint8)
                Image.fromarray(image).save(folder / f"{i:02d}.png")
    return tmp_path / "data"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny", num_classes=2, null_label=True)


def evaluate(tiny: Path, data: Path, out: Path, *flags: str) -> dict[str, Any]:
    assert main(["evaluate", str(tiny), f"--data={data}", f"--out={out}", *FLAGS, *flags]) == 0
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {k: v for k, v in row.items() if "second" not in k and k != "machine"}
        for row in report["samplers"]
    ]
    return {**report, "samplers": rows}


def test_the_report_has_the_bound_the_distances_and_their_floor(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    report = evaluate(tiny, data, tmp_path / "report")
    for split in ("train", "test"):
        found = report["bound"][split]
        assert found["images"] == 3
        parts = found["prior"] + found["denoising"] + found["decoder"]
        assert found["total"] == pytest.approx(parts)
    assert [len(values) for values in report["by_timestep"].values()] == [50] * 4
    assert [row["sampler"] for row in report["samplers"]] == ["ddim:4", "dpmpp:3"]
    for row in report["samplers"]:
        assert row["images"] == 12 and row["images_per_second"] > 0
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
    report = evaluate(tiny, data, tmp_path / "report", "--images=12", "--runtime=openvino")
    source, test = Source.open(tiny, "cpu", "eager"), datasets.load(str(data), "test")
    process = source.checkpoint.process
    reverse = Reverse(source.model, source.process, process.variance, process.clip)
    terms = bound(reverse, pixels.to_model(test.pixels), test.labels, seed=9).bits_per_dim()
    # the same images in another order, so with other noise
    assert report["bound"]["test"]["total"] == pytest.approx(terms.total.mean().item(), rel=0.05)
    assert report["bound"]["test"]["prior"] == pytest.approx(terms.prior.mean().item())


def test_the_page_shows_it_all_and_loads_nothing_from_elsewhere(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    report = evaluate(tiny, data, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<svg") == 3 and page.count("<img") == 4
    assert f"{report['bound']['test']['total']:.4g}" in page
    assert "The floor is that of 12 images" in page
    assert all(row["sampler"] in page for row in report["samplers"])
    sources = re.findall(r"""(?:src|href)=["']([^"'#]+)""", page)
    assert all(source.startswith("data:") for source in sources)
    for name in ("ddim-4", "dpmpp-3", "nearest", "progressive"):
        with Image.open(tmp_path / "report" / f"{name}.png") as grid:
            assert grid.width >= 8


def test_an_interrupted_evaluation_goes_on_to_the_same_report(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(tiny, data, tmp_path / "whole")
    calls: list[str] = []
    make = Parts.get

    def interrupted(self: Parts, name: str, work: Any) -> Any:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(name)
        return make(self, name, work)

    monkeypatch.setattr(Parts, "get", interrupted)
    out = tmp_path / "halves"
    assert main(["evaluate", str(tiny), f"--data={data}", f"--out={out}", *FLAGS]) == 130
    monkeypatch.undo()
    assert not (out / "report.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    assert len(before) == 4
    halves = evaluate(tiny, data, out)
    assert without_times(halves) == without_times(whole)
    for name, when in before.items():
        assert (out / name).stat().st_mtime_ns == when, "made once"
    assert evaluate(tiny, data, out) == halves


def test_a_folder_with_another_evaluation_is_refused(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    evaluate(tiny, data, out)
    arguments = ["evaluate", str(tiny), f"--data={data}", f"--out={out}", *FLAGS, "--seed=1"]
    assert main(arguments) == 2
    assert "holds an evaluation with seed = 0, not 1; give another" in capsys.readouterr().err


def test_a_report_becomes_the_quality_on_the_card_of_those_weights(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate(tiny, data, tmp_path / "report")
    path = tmp_path / "report" / "report.json"
    assert main(["export", str(tiny), str(tmp_path / "model"), f"--report={path}"]) == 0
    quality = open_checkpoint(tmp_path / "model").card.quality
    assert quality["bits_per_dim"]["test"] == report["bound"]["test"]
    assert quality["samplers"]["ddim:4"]["recognised"] == report["samplers"][0]["recognised"]
    assert quality["command"].startswith(f"ddpm evaluate {tiny} --images 3 --samples 12")
    assert "more" not in quality
    twice = ["export", str(tiny), str(tmp_path / "model"), "--report", str(path), str(path)]
    assert main(twice) == 0
    samples = {name: value for name, value in quality.items() if name != "bits_per_dim"}
    assert open_checkpoint(tmp_path / "model").card.quality == {**quality, "more": [samples]}
    other = save_tiny(tmp_path / "other", num_classes=5)
    assert main(["export", str(other), str(tmp_path / "model"), f"--report={path}"]) == 2
    assert f"{path}: is of the weights {report['sha256']}, not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--images=0", "images: 0 is not allowed; it must be 1 or more"),
        ("--samples=1", "samples: 1 is not allowed; it must be 2 or more"),
        ("--batch-size=0", "batch-size: 0 is not allowed; it must be 1 or more"),
    ],
)
def test_too_little_to_measure_is_refused_before_anything_is_written(
    flag: str, message: str, tiny: Path, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ["evaluate", str(tiny), f"--data={data}", f"--out={tmp_path / 'out'}", *FLAGS, flag]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_the_plotting_library_it_says_so_before_the_work(
    tiny: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(["evaluate", str(tiny), f"--data={data}", f"--out={tmp_path / 'out'}"]) == 2
    assert "matplotlib is not installed" in capsys.readouterr().err


def test_one_image_has_no_standard_error(tiny: Path, data: Path, tmp_path: Path) -> None:
    report = evaluate(tiny, data, tmp_path / "report", "--images=1")
    assert report["bound"]["test"]["standard_error"] is None


def test_curves_over_t_are_drawn_only_where_every_t_has_a_term(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    evaluate(tiny, data, out, "--terms=2")
    assert not (out / "terms.png").exists() and not (out / "rate-distortion.png").exists()
    page = (out / "report.html").read_text()
    assert "No curves over t" in page and "Progressive coding" not in page


def test_a_guided_sampler_is_measured_beside_the_plain_one(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    report = evaluate(tiny, data, out, "--sampler", "ddim:4", "ddim:4@2.5")
    plain, guided = report["samplers"]
    for name in ("rate-distortion", "terms", "distance-by-steps"):
        with Image.open(out / f"{name}.png") as plot:
            assert plot.width > 500
    assert (plain["sampler"], guided["sampler"]) == ("ddim:4", "ddim:4@2.5")
    assert plain["frechet"] != guided["frechet"]
    flags = ["--n=5", "--label", "0", "1", "0", "1", "0", "--sampler=ddim", "--steps=4"]
    made = ["--guidance=2.5", f"--out={tmp_path / 'made.npz'}"]
    assert main(["sample", str(tiny), *flags, *made]) == 0
    part = np.load(out / "samples-ddim-4@2.5-000000.npz")["images"]
    expected = np.load(tmp_path / "made.npz")["images"]
    np.testing.assert_array_equal(np.moveaxis(part, 1, -1), expected)
    plain_model = save_tiny(tmp_path / "plain", num_classes=2)
    flags = [f"--data={data}", f"--out={tmp_path / 'other'}", "--sampler", "ddim:4@2.5"]
    assert main(["evaluate", str(plain_model), *flags]) == 2
    assert "sampler: 'ddim:4@2.5': the model has no null label" in capsys.readouterr().err


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
