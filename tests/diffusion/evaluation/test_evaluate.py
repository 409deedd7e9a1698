"""What an evaluation measures, on a tiny model and data set."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion import pixels
from diffusion.data import datasets
from diffusion.data.images import Images, NoSplitError
from diffusion.evaluation.features import Features
from diffusion.sampling import Request, Source
from tests.diffusion.evaluation.runs import Run, evaluate
from tests.tiny import save_tiny


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
        low, high = row["frechet_interval"]
        assert low <= row["frechet"] <= high
        assert 0 <= row["recognised"] <= 1
    floor = report["floor"]
    assert (floor["images"], floor["draws"], floor["labels"]) == (12, 10, "balanced")
    assert min(floor[f"{name}_deviation"] for name in ("frechet", "precision", "recall")) > 0
    assert report["classifier"]["of"] == "test"
    assert report["data"] == {"train": 40, "test": 12}
    assert report["nearest"]["samples_least"] > 0
    times = [row["t"] for row in report["progressive"]]
    assert (times[0], times[-1]) == (50, 1) and times == sorted(times, reverse=True)
    assert all(row["rmse"] > 0 for row in report["progressive"])


@pytest.mark.slow
def test_samples_of_a_model_of_pure_noise_look_bad(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights, which predict nothing; what is told of them must not be mistaken."""
    flags = ("--samples=160", "--batch-size=160", "--sampler", "ddim:3", "--images=12")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    (row,), floor = report["samplers"], report["floor"]
    assert report["classifier"]["accuracy"] == 1, "the classifier is not to blame"
    low, high = row["recognised_interval"]
    assert low < 0.5 < high, "chance"
    for name in ("frechet", "frechet_infinity"):
        assert row[name] > floor[name] + 20 * floor[f"{name}_deviation"], name
    assert row["frechet_interval"][0] > 3 * floor["frechet"]
    assert row["precision"] == row["recall"] == 0
    assert floor["precision"] > 0.5 and floor["recall"] > 0.5
    # Pixels sent as they are cost 8 bits each
    assert report["bound"]["test"]["total"] - 3 * report["bound"]["test"]["standard_error"] > 8
    assert f"{row['frechet']:.1f}" in capsys.readouterr().out


@pytest.mark.slow
def test_real_images_in_the_place_of_samples_score_as_the_floor(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = datasets.load(str(data), "test")
    many = real_images(torch.arange(4000) % 2)

    def like_the_data(_source: Source, request: Request, *_: object) -> Iterator[torch.Tensor]:
        yield pixels.to_model(real_images(torch.tensor(request.labels), seed=1).pixels)

    loaded = {"train": many, "test": test}
    monkeypatch.setattr(datasets, "load", lambda _, split, **__: loaded[split])
    monkeypatch.setattr("diffusion.evaluation.samples.batches", like_the_data)
    flags = ("--samples=160", "--batch-size=160", "--sampler", "ddim:3", "--images=1", "--terms=2")
    report = evaluate(tiny, data, tmp_path / "report", *flags).report
    (row,), floor = report["samplers"], report["floor"]
    assert floor["kind"] == "disjoint"
    for name in ("frechet", "frechet_infinity", "precision", "recall"):
        assert abs(row[name] - floor[name]) < 5 * floor[f"{name}_deviation"], name


def real_images(labels: torch.Tensor, seed: int = 0) -> Images:
    """Images as those of `data`: dark ones of label 0, and light ones of label 1."""
    random = np.random.default_rng(seed).integers(0, 100, (len(labels), 1, 8, 8), np.uint8)
    brighter = 100 * labels[:, None, None, None].to(torch.uint8)
    return Images(torch.from_numpy(random) + brighter, labels, ("dark", "light"))


def without(split_or_labels: str) -> Callable[[str, str], Images]:
    """A reader of data sets that have no test split, or no labels."""
    load = datasets.load

    def read(source: Any, split: Any, **_: Any) -> Images:
        if split_or_labels == split:
            raise NoSplitError(f"{source} has no {split} split")
        images = load(source, split)
        return Images(images.pixels, None) if split_or_labels == "labels" else images

    return read


@pytest.mark.slow
def test_without_a_test_split_it_is_said_and_nothing_is_told_of_one(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(datasets, "load", without("test"))
    run = evaluate(tiny, data, tmp_path / "report", "--terms=50", "--full=2")
    assert run.report["bound"].keys() == {"train"} == run.report["data"].keys()
    assert run.report["estimators"] is None and run.report["curves_of"] == "train"
    assert "test_median" not in run.report["nearest"]
    assert run.report["classifier"]["of"] == "train, held out"
    assert any("no test split" in warning for warning in run.report["warnings"])
    assert "no test split" in caplog.text
    assert "of 4 training images that were held out" in capsys.readouterr().out
    page = (run.folder / "report.html").read_text()
    assert "no test split" in page and "There are no test images to compare with" in page
    assert "of training images" in page and "of test images" not in page


@pytest.mark.slow
@pytest.mark.parametrize("features", ["auto", "random"])
def test_of_images_without_labels_all_but_recognition_is_measured(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: str
) -> None:
    monkeypatch.setattr(datasets, "load", without("labels"))
    run = evaluate(tiny, data, tmp_path / "report", f"--features={features}")
    assert run.report["features"] == "an untrained network's last layer"
    assert run.report["bound"]["test"]["total"] > 0
    assert run.report["floor"]["labels"] == "data"
    for row in run.report["samplers"]:
        assert row["frechet"] > 0 and "recognised" not in row
    assert any("Recognition is left out" in each for each in run.report["warnings"])
    assert "<th>recognised</th>" not in (run.folder / "report.html").read_text()


@pytest.mark.slow
def test_without_labels_samples_are_still_compared_with_inceptions_features(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def averages(images: torch.Tensor) -> torch.Tensor:
        return images.double().mean(dim=(1, 2))  # stands for the network's

    stands_in = Features("Inception-v3's", 50, averages)
    monkeypatch.setattr(datasets, "load", without("labels"))
    monkeypatch.setattr("diffusion.evaluation.features.inception", lambda _: stands_in)
    monkeypatch.setattr("diffusion.evaluation.features.check", lambda _: None)
    report = evaluate(tiny, data, tmp_path / "report", "--features=inception").report
    assert report["features"] == "Inception-v3's" and report["samplers"][0]["frechet"] > 0
    assert report["dimensions"] == 8 and report["floor"]["frechet_infinity_deviation"] > 0


@pytest.mark.slow
def test_an_unconditional_model_is_compared_with_any_of_the_data(
    data: Path, tmp_path: Path
) -> None:
    run = evaluate(save_tiny(tmp_path / "uncond"), data, tmp_path / "report")
    assert run.report["floor"]["labels"] == "data" and run.report["classes"] == []
    assert not any("labels" in warning for warning in run.report["warnings"])


@pytest.mark.slow
def test_labels_as_frequent_as_in_the_data_are_asked_for_and_compared(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = datasets.load(str(data), "train")
    skewed = Images(images.pixels[:30], images.labels[:30], images.classes)  # 20 and 10
    monkeypatch.setattr(datasets, "load", lambda *_, **__: skewed)
    report = evaluate(tiny, data, tmp_path / "report", "--labels=data").report
    assert report["floor"]["labels"] == "data"
    row = report["samplers"][0]
    by_label = dict(zip(row["recognised_labels"], row["recognised_by_label"], strict=True))
    assert row["recognised"] * 12 == pytest.approx(8 * by_label[0] + 4 * by_label[1])


@pytest.mark.slow
def test_data_that_do_not_fit_in_memory_are_read_in_parts(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 0

    class Watched(torch.Tensor):
        """Pixels; how many images are copied of them together is seen."""

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            with torch._C.DisableTorchFunctionSubclass():
                made = func(*args, **(kwargs or {}))
                if isinstance(made, torch.Tensor) and made.dim() >= 2 and made._base is None:
                    largest = max(largest, len(made))
            return made

    plain = real_images(torch.arange(6000) % 2)
    watched = Images(plain.pixels.as_subclass(Watched), plain.labels, plain.classes)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: watched)
    monkeypatch.setattr("diffusion.evaluation.judge.EPOCHS", 1)
    evaluate(tiny, data, tmp_path / "report", "--images=1", "--terms=2", "--sampler", "ddim:1")
    assert 0 < largest <= 1000
