"""`ddpm sample`: the same images as a grid, an array or a folder; refusals before the work."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion import pixels, sampling
from tests.tiny import save_tiny

FLAGS = ["--n=3", "--seed=5", "--label=1", "--guidance=0.5", "--batch-size=2", "--runtime=eager"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("sample") / "tiny", num_classes=2, null_label=True)


def test_the_flags_are_the_request(tiny: Path, tmp_path: Path) -> None:
    flags = ["--sampler=ddim", "--steps=3", "--eta=0.5", "--first-index=7", *FLAGS]
    assert main(["sample", str(tiny), f"--out={tmp_path / 'a.npz'}", *flags]) == 0
    request = sampling.Request(5, 3, 7, [1], "ddim", 3, eta=0.5, guidance=0.5)
    x_0 = sampling.generate(sampling.Source.open(tiny, "cpu", "eager"), request, batch_size=2)
    with np.load(tmp_path / "a.npz") as made:
        np.testing.assert_array_equal(made["images"], pixels.to_uint8(x_0.numpy()))


def test_what_no_flag_says_may_be_as_the_card_recommends(tiny: Path, tmp_path: Path) -> None:
    recommending = tmp_path / "tiny"
    shutil.copytree(tiny, recommending)
    card = json.loads((recommending / "model_card.json").read_text())
    card["recommended"] = {"sampler": "dpmpp", "steps": 3, "spacing": "karras", "guidance": 0.5}
    (recommending / "model_card.json").write_text(json.dumps(card))
    asked = ["--n=2", "--label=1", "--runtime=eager"]
    flags = ["--sampler=dpmpp", "--steps=3", "--spacing=karras", "--guidance=0.5"]
    outs = [tmp_path / name for name in ("a.npz", "b.npz")]
    assert main(["sample", str(recommending), f"--out={outs[0]}", *asked, "--recommended"]) == 0
    assert main(["sample", str(tiny), f"--out={outs[1]}", *asked, *flags]) == 0
    assert np.array_equal(*(np.load(out)["images"] for out in outs))


@pytest.mark.slow
def test_the_images_are_the_same_in_every_kind_of_file(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("a.npz", "b.npz", "grid.png", "folder"):
        assert main(["sample", str(tiny), "--out", str(tmp_path / out), *FLAGS]) == 0
    assert f"3 samples of tiny written to {tmp_path / 'folder'}" in capsys.readouterr().out
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a["images"].shape == (3, 8, 8, 1)
        np.testing.assert_array_equal(a["images"], b["images"])
        with Image.open(tmp_path / "folder" / "000002.png") as image:
            np.testing.assert_array_equal(np.asarray(image), a["images"][2, :, :, 0])
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (16, 16)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that must not be loaded, nor run."""

    def fail(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(sampling.Source, "of", fail)


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recommended"], "recommended: the card of tiny recommends nothing"),
        (["--out=out.v2"], "out: 'out.v2' is not allowed: the ending must be .png for a grid"),
        (["--out=there.png"], "out: 'there.png' is not allowed: the file exists; --force replaces"),
        (["--out=there.png/a.png"], "there.png is a file, not a folder"),
        (["--n=0"], "n: 0 is not allowed: it must be 1.."),
        (["--batch-size=0"], "batch_size: 0 is not allowed: it must be 1 or more"),
        (["--seed=-1"], "seed: -1 is not allowed: it must be 0..9007199254740991"),
        (["--eta=0.5"], "eta: 0.5 is not allowed: it applies to ddim, not to ddpm"),
        (["--label=2"], "labels: 2 is not allowed: this model has labels 0..1"),
        (["--label", "0", "1"], "labels: [0, 1] is not allowed: 2 labels for n = 16"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_work(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").touch()
    assert main(["sample", str(tiny), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm: ") and message in line
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]


@pytest.mark.usefixtures("network")
def test_five_channels_are_refused_as_a_picture_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five = save_tiny(tmp_path / "five", channels=5)
    assert main(["sample", str(five), f"--out={tmp_path / 'a.png'}"]) == 2
    assert "the model's images have 5 channels; an array, .npz" in capsys.readouterr().err


def test_five_channels_are_written_as_an_array(tmp_path: Path) -> None:
    five = save_tiny(tmp_path / "five", channels=5)
    flags = ["--n=1", "--sampler=ddim", "--steps=1", "--runtime=eager"]
    assert main(["sample", str(five), f"--out={tmp_path / 'a.npz'}", *flags]) == 0
    with np.load(tmp_path / "a.npz") as made:
        assert made["images"].shape == (1, 8, 8, 5)


def test_force_replaces_what_is_there_and_missing_folders_are_made(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no" / "such" / "a.png"
    flags = [f"--out={out}", "--n=1", "--sampler=ddim", "--steps=1", "--runtime=eager"]
    assert main(["sample", str(tiny), *flags]) == 0
    assert capsys.readouterr().out == f"1 sample of tiny written to {out}\n"
    assert main(["sample", str(tiny), *flags]) == 2
    assert main(["sample", str(tiny), *flags, "--force"]) == 0


def test_more_than_the_memory_holds_is_refused_with_what_it_holds(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.npz")
    assert main(["sample", str(tiny), "--n", "99999999999", "--out", out]) == 2
    told = capsys.readouterr().err
    most = re.match(
        r"ddpm: n: 99999999999 is not allowed: the memory holds at most (\d+) images", told
    )
    assert most and 0 < int(most[1]) < 99999999999


def test_a_runs_folder_is_told_from_its_model(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "states").mkdir(parents=True)
    command = ["sample", str(run), "--out", str(tmp_path / "out.png")]
    assert main(command) == 2
    assert f"ddpm: {run}: a run that has no model yet" in capsys.readouterr().err
    shutil.copytree(tiny, run / "model")
    assert main(command) == 2
    told = capsys.readouterr().err
    assert f"ddpm: {run}: a run, whose model is in {run / 'model'}; name that" in told
