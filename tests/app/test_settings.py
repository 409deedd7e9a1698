"""Settings: one class, from DDPM_ variables and flags."""

import subprocess
import sys

import pytest

from app.settings import Settings, unknown_variables


def test_variables_have_the_prefix_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_PORT", "9000")
    monkeypatch.setenv("DDPM_MAX_SAMPLES", "3")
    settings = Settings(_cli_parse_args=["--port=9001", "--max-frames", "5"])
    assert (settings.port, settings.max_samples, settings.max_frames) == (9001, 3, 5)


def test_variables_that_set_nothing_are_found() -> None:
    names = ["DDPM_PORT", "ddpm_max_batch", "DDPM_MAX_BATCHES", "DDPM_API_KEY", "HOME"]
    assert unknown_variables(names) == ["DDPM_API_KEY", "DDPM_MAX_BATCHES"]


def test_the_documented_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.checkpoint, settings.device) == ("mnist", "auto")


def test_an_engine_is_started_on_each_device() -> None:
    settings = Settings(device="cuda:0, cuda:1")
    assert settings.devices == ["cuda:0", "cuda:1"]
    assert Settings(device="cpu,cpu", threads=1).threads_per_engine == 1


def test_help_lists_every_setting() -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown
