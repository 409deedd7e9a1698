"""`ddpm train`: what a run leaves behind, and how it goes on."""

import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.training.lock import locked
from diffusion.training.states import reached, saved_states
from diffusion.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("signals")


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


def test_a_run_keeps_the_start_that_it_began_with(
    config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--out", str(tmp_path / "run"), "--no-samples"]
    start = ["--start", str(run / "model")]
    assert main([*command, *start, "--until", "2"]) == 0
    assert main([*command, "--until", "3"]) == 0
    assert main([*command, *start]) == 0
    first = open_checkpoint(run / "model").sha256
    more = open_checkpoint(tmp_path / "run" / "model")
    assert more.card.trained["start"]["sha256"] == first
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "exported")]) == 0
    assert open_checkpoint(tmp_path / "exported").card.trained["start"]["sha256"] == first
    assert main([*command, "--start", str(more.folder)]) == 2
    told = capsys.readouterr().err
    assert f"began with weights of SHA-256 {first}, not with those of {more.sha256}" in told


def test_a_run_that_began_with_random_weights_has_no_start(
    config: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--out", str(run), "--start", str(run / "model")]
    assert main(["train", str(config), *flags]) == 2
    assert f"start: {run} holds a run that began with random weights" in capsys.readouterr().err


@pytest.mark.slow
def test_training_may_stop_early_and_go_on_another_time(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--out", str(tmp_path / "run")]
    assert main([*command, "--until", "2"]) == 0
    told = capsys.readouterr().out
    assert "stopped at step 2 of 4\n" in told
    assert f"go on with: ddpm train {config} --out {tmp_path / 'run'}\n" in told
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


def logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_before_the_first_step_it_says_what_it_is_going_to_do(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--out", str(tmp_path / "run"), "--until", "1"]) == 0
    told = capsys.readouterr().out
    for name in ("network", "data", "training", "precision", "memory", "run"):
        assert re.search(f"^{name}  ", told, re.MULTILINE), name


def test_a_dry_run_takes_a_step_and_writes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "4 steps of 4 images" in told
    assert re.search(r"a step took \S+ s, and the first one, which also loads code, \S+ s\n", told)
    assert re.search(r"at that pace 4 steps take about \d+ s\n", told)
    assert main(["train", str(config), "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run").exists()


def test_a_dry_run_may_look_at_a_run_that_is_in_use(config: Path, run: Path) -> None:
    before = sorted(run.rglob("*"))
    with locked(run):
        assert main(["train", str(config), "--dry-run", "--out", str(run), "--num-steps", "9"]) == 0
    assert sorted(run.rglob("*")) == before
    assert reached(run).num_steps == 4


Interrupt = Callable[[int, signal.Signals], None]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """`interrupt(step, number)`: this process gets the signal while it takes that step."""
    train_step = Trainer.train_step

    def at(step: int, number: signal.Signals) -> None:
        def then(trainer: Trainer) -> None:
            if trainer.step + 1 == step:
                os.kill(os.getpid(), number)
            train_step(trainer)

        monkeypatch.setattr(Trainer, "train_step", then)

    return at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_a_saved_state_and_the_command_that_goes_on(
    number: signal.Signals,
    config: Path,
    tmp_path: Path,
    interrupt: Interrupt,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "a run"
    interrupt(3, number)
    flags = ["--out", str(out), "--name", "mine", "--no-samples", "--device", "cpu"]
    assert main(["train", str(config), *flags]) == 128 + number
    said, command = capsys.readouterr().err.strip().splitlines()[-2:]
    assert said == (
        f"ddpm: {number.name}: stopped after step 3 of 4, which is saved in {out}; go on with:"
    )
    assert [path.name for path in saved_states(out)] == ["step-00000002", "step-00000003"]
    assert not (out / "lock.json").exists()
    program, *again = shlex.split(command)
    assert program == "ddpm" and main(again) == 0
    assert open_checkpoint(out / "model").name == "mine"
    assert logged(out) == [1, 2, 3, 4]
    assert not (out / "samples").exists()


def test_a_signal_at_the_last_step_loses_nothing(
    config: Path, tmp_path: Path, interrupt: Interrupt, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(4, signal.SIGINT)
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 130
    model = tmp_path / "run" / "model"
    assert f"ddpm: SIGINT: the run was done, and its model is in {model}" in capsys.readouterr().err
    assert open_checkpoint(model).card.trained["steps"] == 4


def test_samples_that_a_signal_kept_from_being_drawn_are_drawn_later(
    config: Path, tmp_path: Path, interrupt: Interrupt
) -> None:
    interrupt(4, signal.SIGINT)
    command = ["train", str(config), "--out", str(tmp_path / "run")]
    assert main(command) == 130
    missing = tmp_path / "run" / "samples" / "step-00000004.png"
    assert not missing.exists()
    assert main(command) == 0
    assert missing.stat().st_size > 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_step_leaves_no_lock(
    number: signal.Signals,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load(*_: object, **__: object) -> None:
        assert (tmp_path / "run" / "lock.json").exists()
        os.kill(os.getpid(), number)

    monkeypatch.setattr("diffusion.data.datasets.load", load)
    before = signal.getsignal(number)
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 128 + number
    assert f"ddpm: {number.name}: ended; there was nothing to save" in capsys.readouterr().err
    assert not (tmp_path / "run" / "lock.json").exists()
    assert signal.getsignal(number) is before


def test_a_dry_run_refuses_the_folder_that_the_run_would(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "thesis.tex").touch()
    for out, message in (
        (tmp_path / "run", "is where the trained model goes, but holds something else"),
        (config, "is a file, not a folder"),
        (config / "run", "is a file, not a folder"),
        (Path("/proc/run"), "the folder /proc cannot be written to"),
    ):
        assert main(["train", str(config), "--dry-run", "--out", str(out)]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_notices_of_libraries_and_places_in_the_code_are_not_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def notice(_: Path) -> None:
        logging.getLogger("matplotlib.font_manager").info("generated new fontManager")
        warnings.simplefilter("default")  # the tests' own is to raise
        warnings.warn("the process does not end in noise", stacklevel=1)

    monkeypatch.setattr("diffusion.commands.train.draw_losses", notice)
    assert main(["train", str(config), "--out", str(tmp_path / "run"), "--until", "1"]) == 0
    assert "the process does not end in noise" in caplog.messages
    assert "generated new fontManager" not in caplog.messages


def test_a_second_process_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        assert main(["train", str(config), "--out", str(tmp_path)]) == 2
    assert (
        f"ddpm: out: {tmp_path} is in use by process {os.getpid()} on " in capsys.readouterr().err
    )
    assert not saved_states(tmp_path)


def test_a_finished_run_is_made_longer_and_stays_so(
    config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    command = ["train", str(config), "--out", str(out)]
    assert main([*command, "--num-steps", "7"]) == 0
    told = capsys.readouterr().out
    assert "7 steps instead of 4; the learning rate does not depend on their number\n" in told
    card = open_checkpoint(out / "model").card
    assert card.trained["steps"] == card.trained["config"]["num_steps"] == 7
    assert card.command == f"ddpm train {config} --num-steps 7"
    assert main(command) == 0
    assert "the run keeps its 7 steps; the configuration says 4\n" in capsys.readouterr().out
    assert logged(out) == [1, 2, 3, 4, 5, 6, 7]
    assert main([*command, "--num-steps", "6"]) == 2
    assert "--num-steps: 6 is not allowed; the run has reached step 7" in capsys.readouterr().err


def test_another_change_of_the_configuration_is_refused(
    config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace("batch_size = 4", "batch_size = 8"))
    assert main(["train", str(other), "--out", str(run), "--num-steps", "9"]) == 2
    assert f"ddpm: {run} holds a run with training.batch_size = 4, not 8" in capsys.readouterr().err
    assert reached(run).num_steps == 4


def test_tensorboard_shows_each_step_once_after_a_kill(config: Path, tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    command = ["train", str(config), "--out", str(tmp_path / "run"), "--no-samples"]
    assert main([*command, "--until", "3"]) == 0
    shutil.rmtree(saved_states(tmp_path / "run")[-1])  # as if it had not been written: back to 2
    assert main(command) == 0
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert logged(tmp_path / "run") == [1, 2, 3, 4]


def test_samples_that_fail_do_not_end_a_run(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").write_text("in the way")
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    assert "step 2: no samples: " in caplog.text and "step 4: no samples: " in caplog.text
    assert (tmp_path / "run" / "model").exists()


def test_losses_that_cannot_be_drawn_do_not_end_a_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "loss.png").mkdir(parents=True)
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    assert "loss.png is not drawn: " in capsys.readouterr().err
    assert (tmp_path / "run" / "model").exists()


def test_a_model_that_cannot_be_written_leaves_the_run_whole(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("diffusion.commands.train.export_run", full)
    out = tmp_path / "run"
    assert main(["train", str(config), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert f"ddpm: the model cannot be written to {out / 'model'}: No space left on device" in told
    assert f"`ddpm export {out} FOLDER`" in told
    assert reached(out).step == 4
    assert main(["export", str(out), str(tmp_path / "exported")]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--until", "0"], "--until: 0 is not allowed; the first step is 1"),
        (["--num-steps", "0"], "num_steps: 0 is not allowed; it must be at least 1"),
        (["--start", "nowhere"], "nowhere: no such folder, and not a built-in model"),
        (["--start", "mnist"], "start: its network is not the configuration's: "),
        (["--out", "{config}"], "out: {config} cannot be written to: File exists"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    flags: list[str],
    message: str,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Trainer, "train_step", lambda _: pytest.fail("trained"))
    filled = [flag.format(config=config) for flag in flags]
    assert main(["train", str(config), "--out", str(tmp_path / "run"), *filled]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith(f"ddpm: {message.format(config=config)}")
