"""`python -m diffusion`: the commands without the web server."""

import re

import pytest

from diffusion.__main__ import main


def test_it_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: python -m diffusion" in shown
    assert all(name in shown for name in ("train", "sample", "evaluate", "export"))
    assert not re.search(r"\bserve\b", shown)


def test_it_runs_a_command_and_returns_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "nowhere"]) == 2
    assert "ddpm: nowhere: no such folder" in capsys.readouterr().err


def test_without_a_command_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "command" in capsys.readouterr().err
