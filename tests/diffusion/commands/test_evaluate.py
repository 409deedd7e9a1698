"""`ddpm evaluate`: what it refuses before the work, and how it continues after a stop."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.commands.evaluate import data_of
from diffusion.config import DataConfig
from diffusion.data.images import DataError
from diffusion.evaluation.cache import Parts
from tests.diffusion.evaluation.runs import Run, arguments, evaluate, without_times
from tests.tiny import save_tiny


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--images=0", "images: 0 is not allowed; it must be 1 or more"),
        ("--samples=3", "samples: 3 is not allowed; it must be 10 or more"),
        ("--batch-size=0", "batch-size: 0 is not allowed; it must be 1 or more"),
        ("--terms=1", "terms: 1 is not allowed; it must be 2 or more"),
        ("--full=4", "full: all terms are measured already; give --terms, too"),
        ("--seed=-1", "seed: -1 is not allowed; it must be 0 or more"),
        ("--seed=99999999999999999999", "it must be 9007199254740991 or less"),
        ("--samples=1000000000000", "samples: 1000000000000 is not allowed; it must be 10000000"),
        (
            "--terms=51",
            "terms: 51 is not allowed; it must be at most T, the steps of the",
        ),
        ("--sampler=ddim:", "sampler: 'ddim:' is not allowed; it must be NAME"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    flag: str,
    message: str,
    tiny: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(tiny, data, tmp_path / "out", flag)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_text_in_place_of_a_folder_is_refused(
    tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments(tiny, data, Path(), "--out="))
    assert end.value.code == 2
    assert "argument --out: '' is not allowed; it must be a path" in capsys.readouterr().err


def test_data_that_a_card_names_and_are_not_here_must_be_given(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = open_checkpoint(tiny)
    card = replace(checkpoint.card, data="my-photos")
    save_checkpoint(tmp_path / "mine", checkpoint.load(), checkpoint.process, card)
    assert main(["evaluate", str(tmp_path / "mine"), f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert f"data: the model card of {tmp_path / 'mine'} names 'my-photos', which is no" in error
    assert "give --data, the path to the images" in error


def test_without_the_plotting_library_it_says_so_before_the_work(
    tiny: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(arguments(tiny, data, tmp_path / "out")) == 2
    assert "matplotlib is not installed" in capsys.readouterr().err


def test_the_same_sampler_twice_is_refused(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--sampler", "ddim", "dpmpp", "ddim:50@0")
    assert main(arguments(tiny, data, tmp_path / "out", *flags)) == 2
    assert "sampler: 'ddim:50' is given twice" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(
    tiny: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(arguments(tiny, data, tmp_path / "file" / "out")) == 2
    out = tmp_path / "file" / "out"
    assert f"out: {out} cannot be written to: Not a directory" in capsys.readouterr().err


def test_features_that_are_not_there_are_refused_before_the_work(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(arguments(tiny, data, tmp_path / "out", "--features=inception")) == 2
    assert "features: inception: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_three_images_are_refused_with_the_least_number(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.npz"
    np.savez(few, images=np.zeros((3, 8, 8), np.uint8), labels=np.array([0, 1, 0]))
    assert main(arguments(tiny, few, tmp_path / "out")) == 2
    assert "data: 3 training images are too few; 8 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_label_without_images_is_refused_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three = save_tiny(tmp_path / "three", num_classes=3)
    assert main(arguments(three, data, tmp_path / "out")) == 2
    assert "data: too few training images of label 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(arguments(three, data, tmp_path / "out", "--labels=data")) == 0


@pytest.mark.slow
def test_the_command_on_the_report_makes_it_again(run: Run) -> None:
    words = shlex.split(run.report["command"])
    assert words[:2] == ["ddpm", "evaluate"]
    assert main([*words[1:], "--runtime=eager"]) == 0
    assert json.loads((run.folder / "report.json").read_text()) == run.report


@pytest.mark.slow
def test_a_folder_of_an_older_version_is_continued(
    tiny: Path, data: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    shutil.copytree(run.folder, out)
    key = json.loads((out / "evaluation.json").read_text())
    for name in ("classifier", "labels", "num_full", "num_train_images"):
        del key[name]
    (out / "evaluation.json").write_text(json.dumps(key))
    made = (out / "samples-ddim-4-000000.npz").stat().st_mtime_ns
    assert without_times(evaluate(tiny, data, out).report) == without_times(run.report)
    assert (out / "samples-ddim-4-000000.npz").stat().st_mtime_ns == made


def test_a_model_whose_card_names_no_data_needs_them_named(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny), f"--out={tmp_path / 'out'}", "--runtime=eager"]) == 2
    assert f"data: the model card of {tiny} names none; give --data" in capsys.readouterr().err


def test_guidance_of_a_model_without_a_null_label_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = save_tiny(tmp_path / "plain", num_classes=2)
    assert main(arguments(plain, data, tmp_path / "out", "--sampler", "ddim:4@2.5")) == 2
    assert "sampler: 'ddim:4@2.5': the model has no null label" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_evaluation_continues_to_the_same_report(
    tiny: Path, data: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    make = Parts.get

    def interrupted(self: Parts, name: str, work: Any) -> Any:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(name)
        return make(self, name, work)

    monkeypatch.setattr(Parts, "get", interrupted)
    out = tmp_path / "halves"
    assert main(arguments(tiny, data, out)) == 130
    monkeypatch.undo()
    assert not (out / "report.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    assert len(before) == 4
    halves = evaluate(tiny, data, out).report
    assert without_times(halves) == without_times(run.report)
    for name, when in before.items():
        assert (out / name).stat().st_mtime_ns == when, "made once"
    assert evaluate(tiny, data, out).report == halves


def test_a_folder_with_another_evaluation_is_refused(
    tiny: Path, data: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tiny, data, run.folder, "--seed=1")) == 2
    assert "holds an evaluation with seed = 0, not 1; give another" in capsys.readouterr().err


@pytest.mark.slow
def test_a_classifier_is_trained_once_where_none_is_at_hand(
    tiny: Path, data: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    shutil.copytree(run.folder / "classifier", out / "classifier")
    monkeypatch.setattr("diffusion.evaluation.judge.train", None)  # it would fail if called
    assert without_times(evaluate(tiny, data, out).report) == without_times(run.report)


def test_a_report_becomes_the_quality_on_the_card_of_those_weights(
    tiny: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = run.folder / "report.json", tmp_path / "model"
    assert main(["export", str(tiny), str(model), f"--report={path}"]) == 0
    quality = open_checkpoint(model).card.quality
    assert quality["bits_per_dim"]["test"] == run.report["bound"]["test"]
    assert quality["samplers"]["ddim:4"]["recognised"] == run.report["samplers"][0]["recognised"]
    assert quality["command"].startswith(f"ddpm evaluate {tiny} --images 3 --samples 12")
    assert "more" not in quality
    again = ["--force", "--report", str(path), str(path)]
    assert main(["export", str(tiny), str(model), *again]) == 0
    samples = {name: value for name, value in quality.items() if name != "bits_per_dim"}
    assert open_checkpoint(model).card.quality == {**quality, "more": [samples]}
    other = save_tiny(tmp_path / "other", num_classes=5)
    assert main(["export", str(other), str(model), "--force", f"--report={path}"]) == 2
    assert f"{path}: is of the weights {run.report['sha256']}, not" in capsys.readouterr().err


def test_the_data_are_read_as_they_were_for_training(tiny: Path) -> None:
    checkpoint = open_checkpoint(tiny)
    table = {"path": "photos", "size": [8, 8], "crop": "pad", "holdout": 0.1}
    card = replace(checkpoint.card, data="photos", trained={"data": table})
    trained = replace(checkpoint, card=card)
    assert data_of(trained, None, "mine") == DataConfig("photos", (8, 8), "pad", holdout=0.1)
    assert data_of(trained, "/elsewhere", "mine").path == "/elsewhere"
    assert data_of(trained, "/elsewhere", "mine").crop == "pad"
    with pytest.raises(DataError, match="names none; give --data"):
        data_of(replace(checkpoint, card=replace(card, data=None)), None, "mine")
