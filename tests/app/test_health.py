"""The container's health check, which runs every ten seconds."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from app import health


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_status_is_that_of_readyz(
    status: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def get(url: str, timeout: float, trust_env: bool, verify: bool) -> httpx.Response:
        asked.append((url, timeout, trust_env, verify))
        return httpx.Response(status, text="the reasons")

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("DDPM_HOST", "0.0.0.0")
    monkeypatch.setenv("DDPM_PORT", "9000")
    assert health.main() == code
    # No proxy that the environment names is asked: the server is on this machine. Its certificate
    # may be for another name.
    assert asked == [("http://127.0.0.1:9000/readyz", health.TIMEOUT_SECONDS, False, False)]
    assert capsys.readouterr().out == "the reasons\n"


def test_a_server_that_does_not_answer_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def get(url: str, **_: object) -> httpx.Response:
        raise httpx.ConnectError(f"nobody at {url}")

    monkeypatch.setattr(httpx, "get", get)
    assert health.main() == 1
    assert "nobody at" in capsys.readouterr().err


class Ready(BaseHTTPRequestHandler):
    """A server that is ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b"ready")

    def log_message(self, *_: object) -> None:
        pass


class OnIPv6(HTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.parametrize("host", ["::", "::1"])
def test_a_server_on_ipv6_is_asked_there(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        server = OnIPv6((host, 0), Ready)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("DDPM_HOST", host)
        monkeypatch.setenv("DDPM_PORT", str(server.server_port))
        assert health.main() == 0, capsys.readouterr().err
    assert capsys.readouterr().out == "ready\n"


def test_a_host_that_is_none_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDPM_HOST", "a:b:c")
    assert health.main() == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_it_loads_nothing_heavy() -> None:
    check = "import sys, app.health; print(*sys.modules)"
    command = [sys.executable, "-c", check]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in shown.split()}
    assert not {"sqlalchemy", "alembic", "fsspec", "torch", "numpy", "fastapi"} & loaded
