"""The programs of others that run beside our servers: HAProxy and Prometheus.

python -m tests.deploy.programs   # what `make test-deploy` runs first: installs them if root
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

NAMES = ("haproxy", "prometheus", "promtool")
PACKAGES = ("haproxy", "prometheus")
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
START_SECONDS = 30
PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"


def find(name: str) -> str:
    """The path of a program. Skips the test without it."""
    found = shutil.which(name, path=PLACES)
    if found is None:
        pytest.skip(f"no {name} found: `make test-deploy` installs it and runs this")
    return found


class Program:
    """`with Program(command, log) as program:`; it is ended at the end."""

    def __init__(
        self, command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(variables or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.terminate()
        self.process.wait(START_SECONDS)


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until it holds. Raises AssertionError when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


def main() -> int:
    """Install what is missing; the exit status."""
    missing = [name for name in NAMES if shutil.which(name, path=PLACES) is None]
    if not missing:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write(f"not found: {', '.join(missing)}; install them, or run this as root\n")
        return 1
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-q"], check=True)
    subprocess.run(INSTALL, check=True, env=quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
