"""`ddpm serve` as a person meets it: the terminal's last line is the page's address."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.serve import page_url
from tests.tiny import save_tiny


def test_the_last_line_is_the_address_once_it_can_serve(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    flags = ["--port=0", f"--checkpoint={folder}", "--runtime=eager"]
    command = [sys.executable, "-m", "app.cli", "serve", *flags]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "Ready" in line)  # unless it ends without
        address = re.fullmatch(r"Ready\. Open (http://127\.0\.0\.1:\d+/) in a browser\.\n", line)
        assert address, line
        assert httpx.get(address[1] + "readyz").status_code == 200
        assert "<title>DDPM playground</title>" in httpx.get(address[1]).text
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("::", "http://[::1]:8000/"),
        ("example.org", "http://example.org:8000/"),
    ],
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert page_url(host, 8000) == url


def test_a_variable_that_sets_nothing_is_warned_of() -> None:
    ended = refused({"DDPM_PROT": "9000"})
    assert "the variable DDPM_PROT is set, and is no setting" in ended.stderr


def test_a_flag_that_there_is_not_is_refused() -> None:
    ended = refused({}, "--prot=9000")
    assert ended.returncode == 2
    assert "--prot" in ended.stderr


def refused(environment: dict[str, str], *flags: str) -> "subprocess.CompletedProcess[str]":
    """A server that would end anyway: there is no such checkpoint."""
    command = [sys.executable, "-m", "app.cli", "serve", "--checkpoint=nowhere", "--port=0", *flags]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
