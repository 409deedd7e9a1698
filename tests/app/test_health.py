"""The container's health check, which runs every ten seconds."""

import subprocess
import sys

import httpx
import pytest

from app import health


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_status_is_that_of_readyz(
    status: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def get(url: str, timeout: float) -> httpx.Response:
        asked.append((url, timeout))
        return httpx.Response(status, text="the reasons")

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("DDPM_HOST", "0.0.0.0")
    monkeypatch.setenv("DDPM_PORT", "9000")
    assert health.main() == code
    assert asked == [("http://127.0.0.1:9000/readyz", health.TIMEOUT_SECONDS)]
    assert capsys.readouterr().out == "the reasons\n"


def test_a_server_that_does_not_answer_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def get(url: str, timeout: float) -> httpx.Response:
        raise httpx.ConnectError(f"nobody at {url} in {timeout} seconds")

    monkeypatch.setattr(httpx, "get", get)
    assert health.main() == 1
    assert "nobody at" in capsys.readouterr().err


def test_it_loads_nothing_heavy() -> None:
    check = "import sys, app.health; print(*sys.modules)"
    command = [sys.executable, "-c", check]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in shown.split()}
    assert not {"sqlalchemy", "alembic", "fsspec", "torch", "numpy", "fastapi"} & loaded
