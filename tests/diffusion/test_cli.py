"""The flags: what every command has to say for itself, and how it ends."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main
from diffusion import cli
from diffusion.sample_flags import chain_of
from diffusion.sampling import Request
from diffusion.training.errors import Interrupted, TrainingError
from tests.tiny import save_tiny

COMMANDS = [
    "data", "init", "train", "sample", "encode", "bound", "evaluate", "tune", "checkpoint",
    "export", "average", "import",
]  # fmt: skip


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="ddpm")
    cli.add_commands(made.add_subparsers(required=True))
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert f"example:\n  ddpm {command} " in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_every_command_is_one_that_it_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    _, _, example = capsys.readouterr().out.partition("example:\n  ddpm ")
    assert parser().parse_args(example.split()).run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_says_what_it_is_for(command: str) -> None:
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in commands.choices[command]._actions:
        assert action.help, action.dest
        if action.option_strings and not action.required and action.dest != "help":
            assert "default" in action.help or action.dest == "name", action.dest


def test_help_is_printed_without_loading_anything_heavy() -> None:
    heavy = {"torch", "numpy", "PIL", "matplotlib", "openvino", "safetensors", "httpx", "tqdm"}
    check = "import sys, diffusion.cli; print(*sys.modules)"
    command = [sys.executable, "-c", check]
    root = Path(__file__).parents[2]
    loaded = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "diffusion.cli" in loaded.split()
    assert not heavy & set(loaded.split())


def test_the_defaults_of_sample_are_those_of_a_request() -> None:
    args = parser().parse_args(["sample", "mnist"])
    default = Request(args.seed, args.n)
    chain = chain_of(args, "mnist", {})
    assert chain == (default.sampler, default.num_steps, default.spacing, default.guidance)
    assert (args.eta, args.variance) == (default.eta, default.variance)
    assert (args.label, args.first_index) == (default.labels, default.first_index)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("steps: too many"), 2, "ddpm: steps: too many\n"),
        (OSError(28, "No space left", "a.bin"), 2, "ddpm: [Errno 28] No space left: 'a.bin'\n"),
        (TrainingError("step 3: not finite"), 2, "ddpm: step 3: not finite\n"),
        (KeyboardInterrupt(), 130, "ddpm: interrupted\n"),
        (Interrupted(15, "SIGTERM: stopped"), 143, "ddpm: SIGTERM: stopped\n"),
        (Interrupted(2), 130, ""),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_status(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_args: argparse.Namespace) -> None:
        raise error

    assert cli.run_command(argparse.Namespace(run=run)) == status
    assert capsys.readouterr().err == message


def test_a_fault_of_the_program_is_not_taken_for_the_users() -> None:
    def run(_args: argparse.Namespace) -> None:
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        cli.run_command(argparse.Namespace(run=run))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "nowhere"], "nowhere: no such folder, and not a built-in model"),
        (
            ["sample", "{tiny}", "--label", "1"],
            "labels: 1 is not allowed: this model is",
        ),
        (["sample", "{tiny}", "--steps", "51"], "steps: 51 is not allowed: it must be 1..50"),
        (["sample", "{tiny}", "--guidance", "1"], "guidance: 1.0 is not allowed: it needs labels"),
        (["sample", "{tiny}", "--device", "cuda:9"], "device: 'cuda:9' cannot be used"),
        (["train", "nowhere.toml", "--out", "{tmp}/run"], "nowhere.toml: "),
        (["train", "configs/mnist.toml"], "--out: the folder of the run is missing; only --dry-"),
        (["export", "nowhere", "{tmp}/out"], "nowhere: no such folder"),
        (
            ["average", "nowhere", "--sigma-rel=0.1", "--out={tmp}/out"],
            "nowhere is not the folder of a run: it holds no saved state",
        ),
    ],
)
def test_ddpm_tells_a_user_what_is_wrong_in_one_line(
    arguments: list[str],
    message: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(tiny=tiny, tmp=tmp_path) for argument in arguments]
    eager = ["--runtime", "eager"] if filled[0] == "sample" else []  # no network is run
    assert main([*filled, *eager]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"ddpm: {message}")


def test_ddpm_has_these_commands_and_serve(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*COMMANDS, "serve"))


def test_libraries_are_heard_from_warnings_on_and_we_from_info_on() -> None:
    script = (
        "import argparse, logging\n"
        "from diffusion.cli import run_command\n"
        "def run(_):\n"
        "    for name in ('httpx', 'matplotlib.font_manager', 'diffusion.x', 'ddpm.openvino'):\n"
        "        logging.getLogger(name).info('of %s', name)\n"
        "run_command(argparse.Namespace(run=run))\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr
    assert told.splitlines() == ["INFO of diffusion.x", "INFO of ddpm.openvino"]


def test_a_reader_that_has_seen_enough_ends_a_command_quietly() -> None:
    script = (
        "import argparse\n"
        "from diffusion.cli import run_command\n"
        "def run(_):\n"
        "    for i in range(100_000):\n"
        "        print(i)\n"
        "raise SystemExit(run_command(argparse.Namespace(run=run)))\n"
    )
    command = f'"{sys.executable}" -c "$SCRIPT" | head -n 1; exit "${{PIPESTATUS[0]}}"'
    ended = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "SCRIPT": script},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")
