"""`ddpm checkpoint`: what it says of a checkpoint, for a person and as JSON."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli import make_parser
from diffusion import sampling
from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.cli import run_command
from diffusion.config import ProcessConfig
from diffusion.model_card import ModelCard
from tests.tiny import save_tiny

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Ask for the JSON: the exit status, and the facts."""

    def ask(source: object) -> tuple[int, dict[str, Any]]:
        status = run_command(make_parser().parse_args(["checkpoint", str(source), "--json"]))
        return status, json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[object], tuple[int, str]]:
    """Ask for the text: the exit status, and what is printed."""

    def tell(source: object) -> tuple[int, str]:
        status = run_command(make_parser().parse_args(["checkpoint", str(source)]))
        return status, capsys.readouterr().out

    return tell


def test_it_says_what_a_checkpoint_is(tmp_path: Path, ask: Ask) -> None:
    folder = save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, prediction="v")
    status, facts = ask(folder)
    checkpoint = open_checkpoint(folder)
    assert status == 0 and facts["usable"]
    assert facts["classes"] == {
        "pipeline": "DDPMPipeline", "network": "UNet2DModel", "scheduler": "DDPMScheduler",
    }  # fmt: skip
    parameters = sum(p.numel() for p in checkpoint.load().parameters())
    assert facts["network"] == {
        "kind": "UNet2DModel", "image_shape": [1, 8, 8], "parameters": parameters,
        "in_diffusers": True,
    }  # fmt: skip
    process = facts["process"]
    assert (process["prediction"], process["num_timesteps"], process["schedule"]) == (
        "v", 50, "linear",
    )  # fmt: skip
    assert 0 < process["alpha_bar_T"] < 1e-4
    assert facts["labels"] == {"names": ["0", "1", "2"], "null_label": 3}
    assert facts["weights"]["sha256"] == checkpoint.sha256
    assert facts["weights"]["bytes"] == checkpoint.weights.paths[0].stat().st_size
    assert (facts["weights"]["types"], facts["notes"]) == (["F32"], [])


def test_the_text_has_the_facts_in_columns(tmp_path: Path, tell: Any, ask: Ask) -> None:
    folder = save_tiny(tmp_path / "tiny")
    status, text = tell(folder)
    _, facts = ask(folder)
    lines = {line[:12].strip(): line[13:] for line in text.splitlines()}
    assert status == 0
    assert lines["network"] == f"UNet2DModel, {facts['network']['parameters']:,} parameters"
    assert lines["images"] == "8 x 8 pixels, 1 channel"
    assert lines["predicts"] == "eps"
    assert lines["labels"] == "none: the network is unconditional"
    assert lines["sha256"] == facts["weights"]["sha256"]
    assert lines["served"] == f"yes: ddpm serve --checkpoint {folder}"


def test_the_commands_that_it_names_are_taken(tmp_path: Path, ask: Ask) -> None:
    folder = save_tiny(tmp_path / "a tiny one", num_classes=2)
    _, facts = ask(folder)
    uses = facts["uses"]
    assert all(use["possible"] for use in uses.values())
    for name in ("sampled", "bounded", "exported"):
        ddpm, *arguments = shlex.split(uses[name]["command"])
        assert ddpm == "ddpm"
        assert make_parser().parse_args(arguments).run
    asked = make_parser().parse_args(shlex.split(uses["sampled"]["command"])[1:])
    assert asked.label == [0], "a network without a null label needs one"
    request = sampling.Request(seed=0, n=16, labels=asked.label)
    request.check(open_checkpoint(folder))


def test_the_bound_is_of_the_cards_data_where_these_are_here(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    card = save_tiny(tmp_path / "tiny") / "model_card.json"
    for data, named in (("photos", "photos"), ("mnist", "mnist"), ("gone.zip", "DATA")):
        card.write_text(json.dumps({**json.loads(card.read_text()), "data": data}))
        command = ask("tiny")[1]["uses"]["bounded"]["command"]
        assert command == f"ddpm evaluate tiny --data {named} --out report"


def test_images_that_are_no_pictures_are_sampled_but_not_served(tmp_path: Path, ask: Ask) -> None:
    _, facts = ask(save_tiny(tmp_path / "tiny", channels=5))
    uses = facts["uses"]
    assert uses["sampled"]["command"].endswith(".npz")
    for name in ("served", "bounded"):
        assert uses[name]["command"] is None
        assert uses[name]["why"] == "its images have 5 channels; pictures have 1 or 3"
    assert uses["exported"]["possible"]


def test_it_names_the_samplers_that_can_begin_where_the_chain_does(
    tmp_path: Path, ask: Ask
) -> None:
    model = open_checkpoint(save_tiny(tmp_path / "tiny")).load()
    process = ProcessConfig(50, "cosine", zero_terminal_snr=True, prediction="v")
    save_checkpoint(tmp_path / "zero", model, process, ModelCard())
    _, facts = ask(tmp_path / "zero")
    assert facts["process"]["alpha_bar_T"] == 0
    assert facts["uses"]["sampled"]["samplers"] == ["ddpm", "ddim", "dpmpp"]


@pytest.mark.filterwarnings("ignore:the process does not end in noise")
def test_what_was_decided_for_want_of_a_file_is_a_note(tmp_path: Path, ask: Ask) -> None:
    alone = (save_tiny(tmp_path / "tiny") / "unet").rename(tmp_path / "alone")
    _, facts = ask(alone)
    assert "the process is taken to be the paper's" in facts["notes"][0]
    model = open_checkpoint(alone).load()
    save_checkpoint(tmp_path / "laplace", model, ProcessConfig(50, "laplace"), ModelCard())
    _, facts = ask(tmp_path / "laplace")
    assert facts["notes"][0].startswith("the process does not end in noise: alpha_bar_T = 0.03")


def test_what_is_refused_says_what_it_is_why_and_what_would_help(
    tmp_path: Path, ask: Ask, tell: Any
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "EDMEulerScheduler"}))
    status, facts = ask(folder)
    assert status == 1 and not facts["usable"]
    assert facts["classes"]["scheduler"] == "EDMEulerScheduler"
    assert facts["reason"].startswith(f"{path}: _class_name: EDMEulerScheduler: EDM's process")
    assert "serve it with diffusers" in facts["remedy"]
    status, text = tell(folder)
    assert status == 1
    assert f"refused      {facts['reason']}\nremedy       {facts['remedy']}\n" in text


def test_no_control_character_reaches_the_terminal(tmp_path: Path, tell: Any) -> None:
    folder = save_tiny(tmp_path / "tiny")
    path = folder / "model_card.json"
    path.write_text(json.dumps({"command": "ddpm train\x1b[2J\nserved       no"}))
    _, text = tell(folder)
    assert "\x1b" not in text
    assert "\nserved       no" not in text


def test_a_folder_that_is_not_there_is_a_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nowhere"
    assert run_command(make_parser().parse_args(["checkpoint", str(missing)])) == 2
    assert "no such folder" in capsys.readouterr().err


def test_whatever_is_in_the_files_it_answers(tmp_path: Path, ask: Ask) -> None:
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        for number, content in enumerate(['{"_class_name": [1]}', "[", '{"_class_name": 7}']):
            folder = save_tiny(tmp_path / f"{name.replace('/', '-')}-{number}")
            (folder / name).write_text(content)
            status, facts = ask(folder)
            assert status == 1
            assert str(folder / name) in facts["reason"]
