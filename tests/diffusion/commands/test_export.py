"""`ddpm export`: a run's averaged weights, or another checkpoint, in the diffusers format."""

import json
from pathlib import Path

import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.config import Config
from diffusion.data import datasets
from diffusion.data.images import Images
from diffusion.training.states import saved_states
from diffusion.training.trainer import Trainer
from tests.full_disk import no_room_for_more_than
from tests.tiny import save_tiny


@pytest.fixture
def run(config: Path, tmp_path: Path) -> Path:
    """The folder of a run that has made one step."""
    read = Config.read(config)
    trainer = Trainer(read, datasets.load(read.data), tmp_path / "run")
    trainer.train_step()
    trainer.save()
    return tmp_path / "run"


def test_a_run_is_exported_with_its_averaged_weights(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), str(tmp_path / "exported"), "--name", "mine"]) == 0
    exported = open_checkpoint(tmp_path / "exported")
    card = exported.card
    assert (exported.name, card.null_label, card.classes) == ("mine", 2, ("0", "1"))
    assert (card.trained["steps"], card.trained["images"]) == (1, 4)
    weights = exported.load().state_dict()
    trainer = Trainer(*arguments(run))
    assert all(t.equal(weights[name]) for name, t in trainer.ema.model.state_dict().items())


def arguments(run: Path) -> tuple[Config, Images, Path]:
    """What the trainer of a run is made of."""
    meta = json.loads((saved_states(run)[-1] / "state.json").read_text())
    data = meta["config"]["data"]["path"]
    return Config.read(Path(data).parent / "tiny.toml"), datasets.load(data), run


def test_the_card_names_the_machine_that_trained_not_the_one_that_exports(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved_states(run)[-1] / "state.json"
    meta = json.loads(path.read_text())
    assert meta["machine"] and meta["torch"]
    elsewhere = {"machine": "s390x, 3 cores, a great GPU", "torch": "1.0"}
    path.write_text(json.dumps({**meta, **elsewhere}))
    monkeypatch.setattr("platform.machine", lambda: "the exporting machine")
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    trained = open_checkpoint(tmp_path / "exported").card.trained
    assert {name: trained[name] for name in elsewhere} == elsewhere


def test_a_run_that_did_not_record_its_machine_is_exported_without_one(
    run: Path, tmp_path: Path
) -> None:
    path = saved_states(run)[-1] / "state.json"
    meta = json.loads(path.read_text())
    del meta["machine"], meta["torch"]
    path.write_text(json.dumps(meta))
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    trained = open_checkpoint(tmp_path / "exported").card.trained
    assert trained.keys() == {"steps", "images", "config", "data"}


def test_the_card_tells_how_the_data_were_read(run: Path, tmp_path: Path) -> None:
    """By it `ddpm evaluate` reads them again: a model of smaller images needs them smaller."""
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    card = open_checkpoint(tmp_path / "exported").card
    read = json.loads((saved_states(run)[-1] / "state.json").read_text())["config"]["data"]
    assert card.trained["data"] == {**read, "path": Path(read["path"]).name}
    assert card.data == Path(read["path"]).name


def test_the_card_has_the_licence_of_a_data_set_that_states_one(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), str(tmp_path / "mine")]) == 0
    assert open_checkpoint(tmp_path / "mine").card.license is None
    path = saved_states(run)[-1] / "state.json"
    meta = json.loads(path.read_text())
    meta["config"]["data"] = {"path": "emoji"}
    path.write_text(json.dumps(meta))
    assert main(["export", str(run), str(tmp_path / "emoji")]) == 0
    license = open_checkpoint(tmp_path / "emoji").card.license
    assert license and license.startswith("OFL-1.1")


def test_a_report_is_not_for_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), str(tmp_path / "out"), "--report", "report.json"]) == 2
    told = capsys.readouterr().err
    assert f"report: {run} is a run; evaluate and export the checkpoint in its model/" in told


def test_a_checkpoint_of_the_flat_layout_becomes_one_of_folders(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "flat")
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    assert main(["export", str(folder), str(tmp_path / "nested")]) == 0
    index = json.loads((tmp_path / "nested" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert open_checkpoint(tmp_path / "nested").sha256


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny")


def test_a_checkpoint_that_is_there_is_replaced_with_force_alone(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "no" / "such" / "out")
    assert main(["export", str(tiny), out, "--name=first"]) == 0
    assert main(["export", str(tiny), out, "--name=second"]) == 2
    expected = f"ddpm: out: {out!r} is not allowed: the checkpoint exists; --force replaces it\n"
    assert capsys.readouterr().err == expected
    assert open_checkpoint(out).name == "first"
    assert main(["export", str(tiny), out, "--name=second", "--force"]) == 0
    assert open_checkpoint(out).name == "second"


def test_a_checkpoint_may_take_its_own_place(tiny: Path) -> None:
    sha256 = open_checkpoint(tiny).sha256
    assert main(["export", str(tiny), str(tiny), "--name=renamed", "--force"]) == 0
    renamed = open_checkpoint(tiny)
    assert (renamed.name, renamed.sha256) == ("renamed", sha256)


def test_weights_are_stored_in_the_numbers_asked_for_and_else_in_their_own(
    tiny: Path, run: Path, tmp_path: Path
) -> None:
    for source in (tiny, run):
        out = tmp_path / "half"
        flags = ["--weights-dtype", "bfloat16", "--force"]
        assert main(["export", str(source), str(out), *flags]) == 0
        half = open_checkpoint(out)
        assert half.header.dtypes == ("BF16",)
        assert main(["export", str(out), str(tmp_path / "again"), "--force"]) == 0
        assert open_checkpoint(tmp_path / "again").sha256 == half.sha256


def test_it_is_told_that_what_was_measured_was_with_other_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "what the card says was measured is of the weights before they were rounded"
    for flags in ([], ["--weights-dtype=bfloat16"]):
        assert main(["export", "mnist", str(tmp_path / "out"), "--force", *flags]) == 0
        assert (note in capsys.readouterr().out) == bool(flags)


@pytest.mark.parametrize("flags", [[], ["--force"]], ids=["without force", "with force"])
def test_a_folder_of_other_files_is_never_replaced(
    tiny: Path, tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").touch()
    for out in (home, home / "thesis.tex"):
        assert main(["export", str(tiny), str(out), *flags]) == 2
        assert "it exists, and is not a checkpoint" in capsys.readouterr().err
    assert main(["export", str(tiny), str(home / "thesis.tex" / "out"), *flags]) == 2
    assert "thesis.tex is a file, not a folder" in capsys.readouterr().err
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_filled(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["export", str(tiny), str(tmp_path / "empty")]) == 0
    assert open_checkpoint(tmp_path / "empty").name == "tiny"


def test_a_full_disk_is_told_in_a_line(
    tiny: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for source in (tiny, run):
        with no_room_for_more_than(3000):
            assert main(["export", str(source), str(out)]) == 2
        told = capsys.readouterr().err
        assert f"ddpm: out: '{out}' is not allowed: the checkpoint cannot be written: " in told
        assert not out.exists()


@pytest.mark.parametrize("text", ["[]", "3", '{"samplers": 3}', '{"samplers": [1]}'])
def test_a_report_that_is_none_is_told(
    text: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    known = {"sha256": "", "command": "", "machine": "", "bound": {}, "floor": 0}
    read = json.loads(text)
    report.write_text(json.dumps({**known, **read} if isinstance(read, dict) else read))
    assert main(["export", str(tiny), str(tmp_path / "out"), "--report", str(report)]) == 2
    assert f"ddpm: {report}: not a report of `ddpm evaluate`: " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}"])
def test_a_damaged_run_is_named(
    text: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (saved_states(run)[-1] / "state.json").write_text(text)
    assert main(["export", str(run), str(tmp_path / "out")]) == 2
    assert f"ddpm: {saved_states(run)[-1]} is damaged: " in capsys.readouterr().err
