"""What builds and runs the image: a Docker engine, or Debian's buildah and runc, which need none.

The container is run as docker-compose.yml and deploy/kubernetes do: its root file system is
read-only, it has no capabilities, and jobs and the cache are on volumes that outlive it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
IMAGE = "ddpm-service-test"
VOLUMES = ("jobs", "cache")


class Engine(Protocol):
    """Builds the image, and runs one container of it at a time."""

    def build(self, arguments: list[str], wheelhouse: Path | None) -> None:
        """Build it. Ends the process when that fails."""

    def size(self) -> int:
        """Bytes of the image, uncompressed."""

    def start(self, port: int) -> "subprocess.Popen[bytes]":
        """A new container, which serves on the port; with the volumes of the one before."""

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container."""

    def signal(self, name: str) -> None:
        """Send the container's first process a signal, TERM or KILL."""

    def remove(self, keep_image: bool) -> None:
        """Remove the container, the volumes and, if wanted, the image."""


def run(command: Sequence[str]) -> None:
    """Run a command in sight; end when it fails."""
    print("$ " + " ".join(command), flush=True)
    if subprocess.run(command).returncode:
        sys.exit(f"failed: {' '.join(command)}")


def output(*command: str) -> str:
    """What a command prints. Raises CalledProcessError."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Docker:
    """A Docker engine."""

    def build(self, arguments: list[str], wheelhouse: Path | None) -> None:
        if wheelhouse is not None:
            sys.exit("--wheelhouse: needs buildah; a Docker build cannot mount a folder")
        run(["docker", "build", "-t", IMAGE, *arguments, str(ROOT)])

    def size(self) -> int:
        return int(output("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))

    def start(self, port: int) -> "subprocess.Popen[bytes]":
        volumes = [part for name in VOLUMES for part in ("-v", f"{IMAGE}-{name}:/{name}")]
        return subprocess.Popen([
            "docker", "run", "--rm", "--init", "--name", IMAGE, "--read-only",
            "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges:true", *volumes,
            "-e", f"DDPM_PORT={port}", "-e", "DDPM_INSECURE=true",
            "-p", f"127.0.0.1:{port}:{port}", IMAGE,
        ])  # fmt: skip

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", "exec", IMAGE, *command], capture_output=True, text=True)

    def signal(self, name: str) -> None:
        subprocess.run(["docker", "kill", "--signal", name, IMAGE], check=True)

    def remove(self, keep_image: bool) -> None:
        names = [f"{IMAGE}-{name}" for name in VOLUMES]
        subprocess.run(["docker", "rm", "--force", IMAGE], check=False, capture_output=True)
        if not keep_image:
            subprocess.run(["docker", "image", "rm", IMAGE], check=False)
        subprocess.run(["docker", "volume", "rm", *names], check=False)


class Buildah:
    """No engine: buildah with chroot isolation builds, runc runs on this machine's network. It
    needs root."""

    environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}

    def __init__(self) -> None:
        os.environ.update({k: os.environ.get(k, v) for k, v in self.environment.items()})
        self._folder = Path(tempfile.mkdtemp(prefix="ddpm-container-"))
        self._runc = ["runc", "--root", str(self._folder / "state")]
        self._container = ""

    def build(self, arguments: list[str], wheelhouse: Path | None) -> None:
        volume = ["--volume", f"{wheelhouse}:/wheels:ro"] if wheelhouse else []
        run(["buildah", "build", "--format", "docker", "-t", IMAGE, *volume, *arguments, str(ROOT)])

    def size(self) -> int:
        manifest = json.loads(self._inspected()["Manifest"])
        return sum(layer["size"] for layer in manifest["layers"])

    def _inspected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(output("buildah", "inspect", "--type", "image", IMAGE))
        return found

    def start(self, port: int) -> "subprocess.Popen[bytes]":
        if not self._container:
            self._container = output("buildah", "from", "--pull-never", IMAGE)
        root = Path(output("buildah", "mount", self._container))
        bundle = self._folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir()
        run([*self._runc, "spec", "--bundle", str(bundle)])
        config = bundle / "config.json"
        spec = json.loads(config.read_text())
        self._describe(spec, root, port)
        config.write_text(json.dumps(spec))
        return subprocess.Popen([*self._runc, "run", "--bundle", str(bundle), IMAGE])

    def _describe(self, spec: dict[str, Any], root: Path, port: int) -> None:
        """Change runc's default into what a Docker engine makes of the image and our options."""
        image = self._inspected()["Docker"]["config"]
        uid, gid = user_of(root, image["User"])
        spec["root"] = {"path": str(root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": image["Cmd"],
            "cwd": image["WorkingDir"],
            "env": [*image["Env"], f"DDPM_PORT={port}", "DDPM_INSECURE=true"],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        del spec["process"]["rlimits"]
        mounts = [each for each in spec["mounts"] if each["type"] != "cgroup"]
        mounts.append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]}
        )
        for name in VOLUMES:
            (self._folder / name).mkdir(exist_ok=True)
            os.chown(self._folder / name, uid, gid)
            source = str(self._folder / name)
            mounts.append(
                {"destination": f"/{name}", "type": "bind", "source": source, "options": ["bind"]}
            )
        spec["mounts"] = mounts
        namespaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [
            each for each in namespaces if each["type"] not in ("network", "cgroup")
        ]

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        inside = [*self._runc, "exec", IMAGE, *command]
        return subprocess.run(inside, capture_output=True, text=True)

    def signal(self, name: str) -> None:
        subprocess.run([*self._runc, "kill", IMAGE, name], check=True)

    def remove(self, keep_image: bool) -> None:
        remove = [*self._runc, "delete", "--force", IMAGE]
        subprocess.run(remove, check=False, capture_output=True)
        if self._container:
            subprocess.run(["buildah", "rm", self._container], check=False, capture_output=True)
        if not keep_image:
            subprocess.run(["buildah", "rmi", IMAGE], check=False, capture_output=True)
        shutil.rmtree(self._folder)


def user_of(root: Path, name: str) -> tuple[int, int]:
    """The ids of a user of an image. Raises StopIteration for one that it does not have."""
    lines = (line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines())
    _, _, uid, gid, *_ = next(line for line in lines if line[0] == name)
    return int(uid), int(gid)


def find_engine() -> Engine:
    """Docker when its engine answers, else buildah and runc. Ends the process without them."""
    if shutil.which("docker"):
        if subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
            return Docker()
    if shutil.which("buildah") and shutil.which("runc"):
        return Buildah()
    sys.exit("neither a Docker engine nor buildah is here; on Debian: apt-get install buildah runc")
