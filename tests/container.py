"""`make test-container`: build the image, run it, sample from it over HTTP.

    python -m tests.container [--base IMAGE] [--requirements FILE] [--wheelhouse DIR]

With a Docker engine it uses that; else Debian's `buildah`, which builds and runs without one.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.app.server import free_port

ROOT = Path(__file__).parent.parent
IMAGE = "ddpm-service-test"
REQUEST = {"n": 2, "seed": 1, "sampler": "ddim", "steps": 20, "labels": [3, 7]}
START_SECONDS = 300


def say(text: str) -> None:
    print(f"--- {text}", flush=True)


def run(command: Sequence[str]) -> None:
    """Run a command in sight; end when it fails."""
    print("$ " + " ".join(command), flush=True)
    if subprocess.run(command).returncode:
        sys.exit(f"failed: {' '.join(command)}")


class Docker:
    """A Docker engine."""

    def build(self, arguments: list[str], wheelhouse: Path | None) -> None:
        if wheelhouse is not None:
            sys.exit("--wheelhouse: needs buildah; a Docker build cannot mount a folder")
        run(["docker", "build", "-t", IMAGE, *arguments, str(ROOT)])

    def start(self, port: int) -> Any:
        return subprocess.Popen([
            "docker", "run", "--rm", "--name", IMAGE, "--read-only", "--tmpfs", "/tmp",
            "--cap-drop", "ALL", "-e", f"DDPM_PORT={port}", "-e", "DDPM_INSECURE=true",
            "-p", f"127.0.0.1:{port}:{port}", IMAGE,
        ])  # fmt: skip

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", "exec", IMAGE, *command], capture_output=True, text=True)

    def stop(self, process: Any) -> int:
        subprocess.run(["docker", "stop", "--time", "45", IMAGE], check=True)
        status: int = process.wait(60)
        return status

    def remove(self) -> None:
        subprocess.run(["docker", "image", "rm", IMAGE], check=False)


class Buildah:
    """No engine: `buildah` with chroot isolation, on this machine's network."""

    environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def __init__(self) -> None:
        os.environ.update({k: os.environ.get(k, v) for k, v in self.environment.items()})
        self.container = ""
        self.port = 0

    def build(self, arguments: list[str], wheelhouse: Path | None) -> None:
        volume = ["--volume", f"{wheelhouse}:/wheels:ro"] if wheelhouse else []
        run(["buildah", "build", "--format", "docker", "-t", IMAGE, *volume, *arguments, str(ROOT)])

    def start(self, port: int) -> Any:
        self.port = port
        made = subprocess.run(
            ["buildah", "from", "--pull-never", IMAGE], capture_output=True, text=True, check=True
        )
        self.container = made.stdout.strip()
        return subprocess.Popen(self._run("ddpm", "serve"))

    def _run(self, *command: str) -> list[str]:
        settings = ["--env", f"DDPM_PORT={self.port}", "--env", "DDPM_INSECURE=true"]
        return ["buildah", "run", *settings, self.container, "--", *command]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._run(*command), capture_output=True, text=True)

    def stop(self, process: Any) -> int:
        # buildah does not pass signals on: send it to the server itself, as an engine would
        below = psutil.Process(process.pid).children(recursive=True)
        servers = [each for each in below if each.cmdline()[1:] == ["/venv/bin/ddpm", "serve"]]
        servers[-1].terminate()
        status: int = process.wait(60)
        return status

    def remove(self) -> None:
        if self.container:
            subprocess.run(["buildah", "rm", self.container], check=False, capture_output=True)
        subprocess.run(["buildah", "rmi", IMAGE], check=False, capture_output=True)


def find_tool() -> Docker | Buildah:
    """Docker when its engine answers, else buildah."""
    if shutil.which("docker"):
        if subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
            return Docker()
    if shutil.which("buildah"):
        return Buildah()
    sys.exit("neither a Docker engine nor buildah is here; on Debian: apt-get install buildah")


def wait_until(condition: Callable[[], bool], what: str, process: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{what}: not reached; the container's status is {process.poll()}")
        time.sleep(0.5)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def sample(url: str) -> bytes:
    """The grid, checked to be a picture of the right size."""
    response = httpx.post(
        f"{url}/sample", json=REQUEST, headers={"Accept": "image/png"}, timeout=120
    )
    response.raise_for_status()
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (56, 28), image.size
        assert len(set(image.tobytes())) > 10, "the picture is not empty"
    return response.content


def check(tool: Docker | Buildah, port: int) -> None:
    """Start the container, sample from it, stop it."""
    say(f"starting the container on port {port}")
    url = f"http://127.0.0.1:{port}"
    process = tool.start(port)
    try:
        wait_until(lambda: is_ready(url), "/readyz", process)
        say("ready; sampling")
        assert sample(url) == sample(url), "the same request gives the same bytes"
        user = tool.execute("id", "-u").stdout.strip()
        assert user == "10001", f"it runs as user {user}"
        health = tool.execute("python3", "-m", "app.health")
        assert health.returncode == 0, health.stderr
        say(f"two digits, twice the same bytes; user {user}; healthy: {health.stdout.strip()}")
    finally:
        status = tool.stop(process) if process.poll() is None else process.returncode
    assert status == 0, f"it ended with status {status}"
    say("stopped by SIGTERM with status 0")


def main() -> None:
    """Build, check, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", help="base image (the Dockerfile's)")
    parser.add_argument("--requirements", help="a file of deploy/ (the Dockerfile's, with CUDA)")
    parser.add_argument("--wheelhouse", type=Path, help="install from this folder of wheels only")
    parser.add_argument("--keep", action="store_true", help="keep the image")
    args = parser.parse_args()
    tool = find_tool()
    given = {"BASE": args.base, "REQUIREMENTS": args.requirements}
    if args.wheelhouse:
        given["PIP_ARGS"] = "--no-index --find-links /wheels"
    arguments = [part for k, v in given.items() if v for part in ("--build-arg", f"{k}={v}")]
    try:
        say("building the image")
        tool.build(arguments, args.wheelhouse and args.wheelhouse.resolve())
        check(tool, free_port())
        say("passed")
    finally:
        if not args.keep:
            tool.remove()


if __name__ == "__main__":
    main()
