"""`ddpm average`: a model of a run's snapshots, as long after training as one likes."""

from pathlib import Path

import pytest
import torch

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.training.snapshots import average, saved_snapshots
from diffusion.training.states import saved_states
from tests.full_disk import no_room_for_more_than


@pytest.fixture(scope="module")
def run(config: Path) -> Path:
    """The folder of a run of four steps that has ended, with snapshots of the steps 2 and 4."""
    with_snapshots = config.with_name("kept.toml")
    with_snapshots.write_text(config.read_text() + "snapshot_every = 2\n")
    out = config.parent / "run"
    assert main(["train", str(with_snapshots), "--out", str(out), "--no-samples"]) == 0
    return out


def test_an_average_becomes_a_model_like_the_one_that_training_writes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert main(["average", str(run), "--sigma-rel", "0.08", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"checkpoint written to {out}: the average of sigma_rel 0.08 as of step 4" in told
    made, trained = open_checkpoint(out), open_checkpoint(run / "model")
    expected = average(run, 0.08)
    weights = made.load().state_dict()
    assert weights.keys() == expected.weights.keys()
    assert all(torch.equal(tensor, expected.weights[name]) for name, tensor in weights.items())
    assert (made.process, made.unet) == (trained.process, trained.unet)
    ours, theirs = made.card, trained.card
    assert (ours.name, ours.null_label, ours.classes) == ("mine", 2, ("0", "1"))
    how = ours.trained.pop("average")
    assert how == {"sigma_rel": 0.08, "misfit": expected.misfit}
    assert (ours.trained, ours.data) == (theirs.trained, theirs.data)
    assert ours.command == f"{theirs.command} && ddpm average {run} --sigma-rel 0.08 --step 4"


def test_it_is_as_of_the_step_asked_for(run: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    flags = ["--sigma-rel=0.1", "--step=2", f"--out={out}", "--name=two"]
    assert main(["average", str(run), *flags, "--weights-dtype=bfloat16"]) == 0
    made = open_checkpoint(out)
    assert made.name == "two" and made.header.dtypes == ("BF16",)
    assert (made.card.trained["steps"], made.card.trained["images"]) == (2, 8)
    assert main(["average", str(run), *flags]) == 2
    assert main(["average", str(run), *flags, "--force"]) == 0
    weights = open_checkpoint(out).load().state_dict()
    expected = average(run, 0.1, 2).weights
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())


def test_a_run_that_has_not_ended_has_averages_too(config: Path, tmp_path: Path) -> None:
    with_snapshots = tmp_path / "kept.toml"
    with_snapshots.write_text(config.read_text() + "snapshot_every = 1\n")
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["train", str(with_snapshots), f"--out={run}", "--until=1"]) == 0
    assert main(["average", str(run), "--sigma-rel=0.1", f"--out={out}"]) == 0
    card = open_checkpoint(out).card
    assert card.command == f"ddpm average {run} --sigma-rel 0.1 --step 1"
    assert card.trained["steps"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sigma-rel=0.4"], "--sigma-rel: 0.4 is not allowed; it must be 0.01..0.28"),
        (["--sigma-rel=nan"], "--sigma-rel: nan is not allowed"),
        (["--sigma-rel=0.1", "--step=3"], "--step: 3 is not allowed; {run} has no snapshot"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(
    flags: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["average", str(run), *flags, f"--out={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err.startswith(f"ddpm: {message.format(run=run)}")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_or_has_no_snapshots_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", f"--out={tmp_path / 'out'}"
    assert main(["average", str(run), "--sigma-rel=0.1", out]) == 2
    assert f"ddpm: {run} is not the folder of a run" in capsys.readouterr().err
    assert main(["train", str(config), f"--out={run}", "--until=1"]) == 0
    assert saved_states(run) and not saved_snapshots(run)
    assert main(["average", str(run), "--sigma-rel=0.1", out]) == 2
    assert f"ddpm: {run} has no snapshots to make an average of" in capsys.readouterr().err


def test_a_full_disk_is_told_in_a_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with no_room_for_more_than(3000):
        assert main(["average", str(run), "--sigma-rel=0.1", f"--out={out}"]) == 2
    assert "the checkpoint cannot be written: " in capsys.readouterr().err
    assert not out.exists()
