"""The commands, end to end on a tiny model and data set."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from diffusion.sampling import Source
from diffusion.training.trainer import saved_states
from tests.tiny import save_tiny

CONFIG = """
data = "{data}"
[process]
num_timesteps = 25
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [8]
layers_per_block = 1
down_block_types = ["AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D"]
norm_num_groups = 4
num_class_embeds = 3
[training]
num_steps = {steps}
batch_size = 4
warmup_steps = 1
label_dropout = 0.1
log_every = 1
save_every = 2
sample_every = 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    data = tmp_path / "data.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    np.savez(data, images=pixels, labels=np.arange(10) % 2)
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.format(data=data, steps=4))
    return path


def test_train_then_sample_then_export(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", str(config), "--out", str(run)]) == 0
    assert [path.name for path in sorted((run / "samples").iterdir())] == [
        "step-00000002.png",
        "step-00000004.png",
    ]
    assert len((run / "log.jsonl").read_text().splitlines()) == 4
    assert (run / "loss.png").stat().st_size > 1000
    assert list((run / "tensorboard").glob("events.*"))

    first = open_checkpoint(run / "model")
    card = first.card
    assert (card.name, card.null_label, card.classes) == ("tiny", 2, ("0", "1"))

    flags = ["--start", str(run / "model"), "--out", str(tmp_path / "more")]
    assert main(["train", str(config), *flags]) == 0
    more = open_checkpoint(tmp_path / "more" / "model").card
    assert more.command == f"ddpm train {config} --start {run / 'model'}"
    assert more.trained["start"] == {
        "sha256": first.sha256, "command": card.command, "trained": card.trained,
    }  # fmt: skip
    assert card.command == f"ddpm train {config}" and card.trained["images"] == 16

    arguments = [
        "--n",
        "3",
        "--seed",
        "5",
        "--label",
        "1",
        "--guidance",
        "0.5",
        "--batch-size",
        "2",
    ]
    for out in ("a.npz", "b.npz", "grid.png", "folder"):
        assert main(["sample", str(run / "model"), "--out", str(tmp_path / out), *arguments]) == 0
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a["images"].shape == (3, 8, 8, 1)
        np.testing.assert_array_equal(a["images"], b["images"])
        with Image.open(tmp_path / "folder" / "000002.png") as image:
            np.testing.assert_array_equal(np.asarray(image), a["images"][2, :, :, 0])
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (16, 16)

    assert main(["export", str(run), str(tmp_path / "exported"), "--name", "mine"]) == 0
    exported = open_checkpoint(tmp_path / "exported")
    assert exported.name == "mine"
    assert exported.sha256 == open_checkpoint(run / "model").sha256


def test_training_may_stop_early_and_go_on_another_time(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--out", str(tmp_path / "run")]
    assert main([*command, "--until", "2"]) == 0
    assert "at step 2 of 4; the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "run" / "model").exists()
    assert [state.name for state in saved_states(tmp_path / "run")] == ["step-00000002"]
    assert main(command) == 0
    assert (tmp_path / "run" / "model").exists()


def test_training_again_goes_on_where_it_stopped(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for _ in range(2):
        assert main(["train", str(config), "--out", str(run)]) == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 4, "there was nothing left to do"


def test_export_takes_a_checkpoint_of_the_flat_layout(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "flat")
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    assert main(["export", str(folder), str(tmp_path / "nested")]) == 0
    index = json.loads((tmp_path / "nested" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert open_checkpoint(tmp_path / "nested").sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "nowhere"], "nowhere: no such folder, and not a built-in model"),
        (["sample", "{tiny}", "--label", "1"], "labels: this model is unconditional"),
        (["sample", "{tiny}", "--steps", "51"], "steps: 51 is not allowed; it must be 1..50"),
        (["sample", "{tiny}", "--guidance", "1"], "guidance: needs labels"),
        (["sample", "{tiny}", "--device", "cuda:9"], "device: 'cuda:9' cannot be used"),
        (["train", "nowhere.toml", "--out", "{tmp}/run"], "nowhere.toml: "),
        (["export", "nowhere", "{tmp}/out"], "nowhere: no such folder"),
    ],
)
def test_an_error_of_the_users_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = save_tiny(tmp_path / "tiny")
    filled = [argument.format(tiny=tiny, tmp=tmp_path) for argument in arguments]
    assert main(filled) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"ddpm: {message}")


def test_without_openvino_samples_are_made_by_pytorch_unless_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    tiny = save_tiny(tmp_path / "tiny")
    assert Source.open(tiny, "cpu").runtime == "eager"
    assert main(["sample", str(tiny), "--runtime", "openvino"]) == 2
    assert "runtime: openvino is not installed; use eager" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["train"], ["sample"], ["export"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "example:" in shown if command else "serve" in shown
