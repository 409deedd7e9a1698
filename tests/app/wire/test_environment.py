"""The environment of processes that the API process starts."""

import os
import sys

import pytest

from app.wire.environment import same_modules


def test_a_process_does_not_get_the_servers_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Among them are API keys and the webhooks' secret."""
    monkeypatch.setenv("DDPM_API_KEYS", "a key of this server")
    monkeypatch.setenv("OTHER", "something")
    environment = same_modules()
    assert "DDPM_API_KEYS" not in environment
    assert environment["OTHER"] == "something"
    assert environment["PYTHONPATH"].split(os.pathsep) == sys.path
