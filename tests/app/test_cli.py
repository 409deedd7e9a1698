"""The command `ddpm` as a person meets it."""

import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app import cli
from app.door.api_keys import digest, read_file
from diffusion import __version__
from diffusion.folders import MODELS
from tests.tiny import save_tiny

ROOT = Path(__file__).parent.parent.parent
LIGHT = [["serve", "--help"], ["--help"], ["--version"], []]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory in which another project has modules of our names."""
    folder = tmp_path / "elsewhere"
    for name in ("app", "diffusion", "torch"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('not ours')")
    return folder


@pytest.mark.slow
def test_the_last_line_is_the_address_once_it_can_serve_from_wherever_it_is_started(
    tmp_path: Path, elsewhere: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    flags = ["--port=0", f"--checkpoint={folder}", "--runtime=eager"]
    # As the script `ddpm` starts it: what Python finds first is not the working directory.
    command = [sys.executable, "-P", "-m", "app.cli", "serve", *flags]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=elsewhere,
        env={**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": str(ROOT)},
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


def test_ctrl_c_while_it_loads_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "serve", load)
    assert cli.main(["serve"]) == 130
    assert capsys.readouterr().err == "ddpm serve: interrupted before it was listening\n"


def test_a_variable_that_sets_nothing_is_warned_of() -> None:
    ended = refused({"DDPM_PROT": "9000"})
    assert "the environment variable DDPM_PROT is not a setting" in ended.stderr


def test_the_address_of_a_kubernetes_service_is_ignored_with_one_warning() -> None:
    service = {"DDPM_PORT": "tcp://10.0.0.1:8000", "DDPM_SERVICE_HOST": "10.0.0.1"}
    ended = refused(service)
    assert ended.stderr.count("Kubernetes makes these variables") == 1
    assert "is not a setting" not in ended.stderr
    assert "'nowhere': no such folder" in ended.stderr, "it went on"


def test_a_port_in_use_is_one_line_before_any_engine_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["serve", f"--port={port}", "--checkpoint=nowhere"]) == 2
    line = f"ddpm serve: port: {port}: another program listens there, on 127.0.0.1"
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--port=x", "port: 'x': Input should be a valid integer"),
        ("--jobs-url=mysql://x", "jobs_url: 'mysql://x': 'mysql' is not sqlite or postgresql"),
        ("--host=192.0.2.1", "host: '192.0.2.1': this machine has no such address"),
        ("--root-path=/jobs", "root_path: '/jobs': it is a path of the service itself"),
        ("--cors-origins=x", "cors_origins: 'x': 'x' is not *, nor an origin"),
        ("--jobs-results=odd://x", "jobs_results: 'odd://x': Protocol not known: odd"),
        ("--api-keys=guessable", "api_keys: (not shown): every key must have at least 16"),
        ("--api-keys-file=none.toml", "api_keys_file: 'none.toml': No such file or directory"),
        ("--protect=docs", "protect: 'docs': it needs API keys"),
        ("--trusted-proxies=*", "trusted_proxies: '*': not an address or network"),
        ("--tls-certificate=none.pem", "tls_certificate: 'none.pem': it, or its key, cannot be"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    flag: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--port=0", flag]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"ddpm serve: {line}")
    assert shown.err.count("\n") == 1 and shown.out == ""


def test_an_address_that_others_reach_needs_keys_or_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["serve", "--host=0.0.0.0", "--port=0", "--checkpoint=nowhere"]) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("ddpm serve: host: '0.0.0.0': other machines can reach this address")
    assert "DDPM_API_KEYS_FILE" in refusal and "--insecure" in refusal


def test_a_new_key_is_printed_once_with_the_table_for_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["key", "alice", "--admin"]) == 0
    _, key, _, table = capsys.readouterr().out.split("\n\n", 3)
    path = tmp_path / "keys.toml"
    path.write_text(table)
    (found,) = read_file(str(path))
    assert (found.name, found.admin, found.key_sha256) == ("alice", True, digest(key))
    assert key not in table


def test_a_keys_name_that_no_label_can_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "a b"]) == 2
    assert "name: it must be 1..40 letters, digits and ._-" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for command in ("train", "sample", "evaluate", "export", "serve", "key"):
        assert f"    {command}" in shown


def test_the_version_names_what_runs_the_network_and_where_the_models_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == "openvino":
            raise importlib.metadata.PackageNotFoundError(package)
        return "2.13.0"

    monkeypatch.setattr("importlib.metadata.version", version)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"ddpm {__version__}",
        "torch 2.13.0",
        "openvino not installed",
        f"built-in models {MODELS}",
    ]


@pytest.mark.parametrize("flags", LIGHT, ids=" ".join)
def test_what_only_shows_text_loads_nothing_heavy(flags: list[str]) -> None:
    check = "import atexit, sys; from app import cli; atexit.register(lambda: print(*sys.modules))"
    command = [sys.executable, "-c", f"{check}; sys.exit(cli.main({flags}))"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in shown.splitlines()[-1].split()}
    assert not {"torch", "numpy", "fastapi", "uvicorn", "sqlalchemy", "httpx"} & loaded


def refused(environment: dict[str, str], *flags: str) -> "subprocess.CompletedProcess[str]":
    """A server that would end anyway: there is no such checkpoint."""
    command = [sys.executable, "-m", "app.cli", "serve", "--checkpoint=nowhere", "--port=0", *flags]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
