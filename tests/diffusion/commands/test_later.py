"""Each command runs its module, which is loaded only then."""

import argparse
import importlib
import inspect
import subprocess
import sys

import pytest

from diffusion.cli import add_commands
from diffusion.commands import later

COMMANDS = [name for name, _ in inspect.getmembers(later, inspect.isfunction)]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("status", [None, 1])
def test_a_command_runs_the_module_of_its_name(
    name: str, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, given = argparse.Namespace(), list[argparse.Namespace]()

    def run(args: argparse.Namespace) -> int | None:
        given.append(args)
        return status

    monkeypatch.setattr(importlib.import_module(f"diffusion.commands.{name}"), "run", run)
    made = getattr(later, name)(args)
    assert len(given) == 1 and given[0] is args
    assert made == status or name != "checkpoint", "it alone has an exit status of its own"


def test_every_command_of_the_package_is_among_them() -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    add_commands(commands)
    runs = {name: command.get_default("run") for name, command in commands.choices.items()}
    names = ["import" if name == "import_checkpoint" else name for name in COMMANDS]
    assert runs == {name: getattr(later, run) for name, run in zip(names, COMMANDS, strict=True)}


def test_naming_the_commands_loads_no_pytorch() -> None:
    check = "import sys, diffusion.commands.later; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
