"""`make test-wheel`: build the wheel, install it where nothing else is, and use it from there.

    python -m tests.wheel [--torch REQUIREMENT]

The environment is empty, and so is the working directory but for a package `app` of somebody else.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.app.server import free_port

ROOT = Path(__file__).parent.parent
START_SECONDS = 300
SAMPLE = ["sample", "mnist", "--n=4", "--label=7", "--sampler=dpmpp", "--steps=10"]
USES_CLIENT = """
from app.client import Client, SampleRequest
with Client("{url}") as client:
    assert client.sample(SampleRequest(n=2, labels=3, steps=5)).array.shape == (2, 28, 28, 1)
"""


def build(folder: Path) -> Path:
    """Build the wheel in `folder`, without a network. Raises CalledProcessError."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, torch: str) -> Path:
    """Install the wheel in a new virtual environment; return the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, torch, str(wheel)], check=True)
    return folder / "bin"


def check(programs: Path, folder: Path) -> None:
    """Sample, serve and ask, from an empty folder. Raises AssertionError or CalledProcessError."""
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    run([programs / "ddpm", "--version"], folder)
    run([programs / "ddpm", *SAMPLE], folder)
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    url = f"http://127.0.0.1:{free_port()}"
    port = url.rpartition(":")[2]
    server = subprocess.Popen([programs / "ddpm", "serve", f"--port={port}"], cwd=folder)
    try:
        until_ready(server, url)
        for path in ("/", "/playground/main.js", "/docs", "/openapi.json"):
            assert httpx.get(url + path).status_code == 200, path
        # -P: as a script of the user's would be, away from the other `app`
        run([programs / "python", "-P", "-c", USES_CLIENT.format(url=url)], folder)
    finally:
        server.terminate()
        status = server.wait(60)
    assert status == 0, f"the server ended with status {status}"


def run(command: Sequence[str | Path], folder: Path) -> None:
    """Run a command in sight. Raises CalledProcessError."""
    print("$ " + " ".join(map(str, command)), flush=True)
    subprocess.run(command, cwd=folder, check=True)


def until_ready(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until it answers. Raises AssertionError when it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server has ended"
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError("the server is not ready")


def main() -> None:
    """Build, install, use, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", default="torch", help="the torch to install (default: any)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        print(f"--- {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        check(install(wheel, folder / "venv", args.torch), folder / "empty")
    print("--- passed")


if __name__ == "__main__":
    main()
