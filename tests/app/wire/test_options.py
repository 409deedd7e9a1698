"""An engine process reads the options that the API process wrote."""

import dataclasses
import sys

import pytest

from app.wire.options import Options

OPTIONS = Options("cpu", "auto", threads=2)


def parsed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, int, Options]:
    monkeypatch.setattr(sys, "argv", ["engine", *arguments])
    return Options.parse()


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        dataclasses.replace(
            OPTIONS, device="cuda:1", runtime="eager", log_format="json", log_level="debug"
        ),
        dataclasses.replace(OPTIONS, cache="/a folder/with = and -- in it"),
        dataclasses.replace(OPTIONS, cache="-starts-like-a-flag"),
        dataclasses.replace(OPTIONS, cache="/a cache"),
        dataclasses.replace(OPTIONS, cache=""),
    ],
    ids=["plain", "other device", "odd name", "like a flag", "a cache", "no cache"],
)
def test_the_options_survive_the_command_line(
    monkeypatch: pytest.MonkeyPatch, options: Options
) -> None:
    assert parsed(monkeypatch, "3", "4", *options.arguments()) == (3, 4, options)


def test_every_option_is_a_flag_of_its_name() -> None:
    assert OPTIONS.arguments() == [
        "--device=cpu", "--runtime=auto", "--threads=2", "--precision=auto", "--log_format=text",
        "--log_level=info",
    ]  # fmt: skip


def test_an_engine_that_is_started_by_hand_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(monkeypatch)
    assert "python -m app.engine" in (said := capsys.readouterr().err)
    assert "socket, recorder" in said
