"""`ddpm train`: what a run leaves behind, and how it goes on."""

import sys
from pathlib import Path

import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.training.states import saved_states


@pytest.fixture(scope="module")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("train") / "run"
    assert main(["train", str(config), "--out", str(folder)]) == 0
    return folder


def test_a_run_leaves_logs_pictures_and_a_checkpoint(config: Path, run: Path) -> None:
    assert [path.name for path in sorted((run / "samples").iterdir())] == [
        "step-00000002.png",
        "step-00000004.png",
    ]
    assert len((run / "log.jsonl").read_text().splitlines()) == 4
    assert (run / "loss.png").stat().st_size > 1000
    assert list((run / "tensorboard").glob("events.*"))
    card = open_checkpoint(run / "model").card
    assert (card.name, card.null_label, card.classes) == ("tiny", 2, ("0", "1"))
    assert card.command == f"ddpm train {config}" and card.trained["images"] == 16


def test_training_again_has_nothing_left_to_do(config: Path, run: Path) -> None:
    assert main(["train", str(config), "--out", str(run)]) == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 4


def test_the_card_tells_which_weights_a_run_started_from(
    config: Path, run: Path, tmp_path: Path
) -> None:
    first = open_checkpoint(run / "model")
    flags = ["--start", str(run / "model"), "--out", str(tmp_path / "more")]
    assert main(["train", str(config), *flags]) == 0
    more = open_checkpoint(tmp_path / "more" / "model").card
    assert more.command == f"ddpm train {config} --start {run / 'model'}"
    assert more.trained["start"] == {
        "sha256": first.sha256, "command": first.card.command, "trained": first.card.trained,
    }  # fmt: skip


def test_training_may_stop_early_and_go_on_another_time(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--out", str(tmp_path / "run")]
    assert main([*command, "--until", "2"]) == 0
    assert "stopped at step 2 of 4; the same command continues" in capsys.readouterr().out
    assert not (tmp_path / "run" / "model").exists()
    assert [state.name for state in saved_states(tmp_path / "run")] == ["step-00000002"]
    assert main(command) == 0
    assert (tmp_path / "run" / "model").exists()


def test_without_the_extra_it_trains_and_says_what_is_left_out(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("torch.utils.tensorboard", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().err
    assert "tensorboard is not installed, so scalars go to log.jsonl only" in told
    assert "matplotlib is not installed, so loss.png is not drawn" in told
    assert (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "loss.png").exists()
