"""The flags of `ddpm serve`."""

import re

import pytest
from pydantic import ValidationError

from app.flags import read_settings
from app.settings import GROUPS, Settings


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_PORT", "9000")
    monkeypatch.setenv("DDPM_MAX_SAMPLES", "3")
    settings = read_settings(["--port=9001", "--max-frames", "5", "--webhook-private", "true"])
    assert (settings.port, settings.max_samples, settings.max_frames) == (9001, 3, 5)
    assert settings.webhook_private


def test_a_danger_is_one_word_as_a_flag_and_a_value_as_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_settings(["--insecure"]).insecure and not read_settings([]).insecure
    monkeypatch.setenv("DDPM_INSECURE", "true")
    assert read_settings([]).insecure


def test_a_value_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(ValidationError, match="port"):
        read_settings(["--port=x"])


@pytest.mark.parametrize("flag", ["--prot=9000", "--max-sample=3", "9000"])
def test_a_flag_that_does_not_exist_is_refused(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings([flag])
    assert ended.value.code == 2
    assert flag in capsys.readouterr().err


def test_a_checkpoint_without_its_flag_is_refused_with_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        read_settings(["mnist"])
    assert (
        "'mnist' is no flag; to serve a checkpoint: --checkpoint mnist" in capsys.readouterr().err
    )


def test_help_lists_every_setting_under_the_heading_of_its_group(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["--help"])
    assert ended.value.code == 0
    _, *parts = re.split(r"^(\w+):$", capsys.readouterr().out, flags=re.MULTILINE)
    shown = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(shown) == ["options", *GROUPS]
    for title, group in GROUPS.items():
        for name in group.model_fields:
            assert f"--{name.replace('_', '-')} " in shown[title], name
    assert "null" not in shown["models"], "no flag can be given that"


def test_every_setting_has_one_group_and_says_what_it_is() -> None:
    grouped = [name for group in GROUPS.values() for name in group.model_fields]
    assert sorted(grouped) == sorted(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())
