"""A real server process for the tests: `ddpm serve` on a free port, stopped by SIGTERM.

`python -m tests.app.server ENGINE… -- FLAGS` is `ddpm serve FLAGS` with another module's engine.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

LOOPBACK = "127.0.0.1"
START_SECONDS = 500
STOP_SECONDS = 120
REAL = ("app.engine",)
FAKE = ("tests.fake_engine", "0.002")
"""Modules that are engines, and their first arguments."""


class Server:
    """`with Server(log, "--max-samples=64") as server:`; `server.client` talks to it. Its jobs are
    beside its log. Its engine is a fake one unless the test needs what only a real one does; that
    has one thread, so that it gets on beside others."""

    def __init__(
        self,
        log: Path,
        *flags: str,
        port: int | None = None,
        host: str = LOOPBACK,
        engine: Sequence[str] = FAKE,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://{host}:{self.port}"
        self.log = log
        serve = ["app.cli", "serve"] if engine == REAL else [__name__, *engine, "--"]
        address = [f"--port={self.port}", *([f"--host={host}"] if host != LOOPBACK else [])]
        command = [sys.executable, "-m", *serve, *address, *flags]
        defaults = {"DDPM_JOBS_FOLDER": str(log.parent / "jobs"), "DDPM_THREADS": "1"}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**defaults, **os.environ, **(variables or {})},
            )
        self.client = httpx.Client(base_url=self.url, timeout=300)

    def __enter__(self) -> "Server":
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.stop()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log.read_text()}")
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server is not ready:\n{self.log.read_text()}")

    def client_at(self, address: str) -> httpx.Client:
        """Another client, at an address such as 127.0.0.2."""
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=self.url, timeout=300, transport=transport)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def hang_up(self, line: str) -> None:
        """SIGHUP; return when it has logged the line once more."""
        before = self.log.read_text().count(line)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + STOP_SECONDS
        while self.log.read_text().count(line) == before:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def post(self, path: str, body: dict[str, Any], accept: str = "*/*") -> httpx.Response:
        return self.client.post(path, json=body, headers={"Accept": accept})

    def engine_pid(self) -> int:
        """The engine: the server's only child."""
        (engine,) = self.children()
        return engine

    def children(self) -> list[int]:
        """The server's child processes."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children]


def quick_runtime() -> str:
    """The flag for the runtime that starts soonest; that of the GPU where pytest's `--device=cuda`
    says so."""
    return "--runtime=" + ("eager" if os.environ.get("DDPM_DEVICE", "cpu") == "cpu" else "auto")


def faulty(fault: str) -> tuple[str, str]:
    """A real engine in which that goes wrong: see tests/faulty_engine.py."""
    return "tests.faulty_engine", fault


def break_clock(seed: str) -> None:
    """From now on this process' clock shows any time at all."""
    jumps = random.Random(seed)
    time.time = lambda: jumps.uniform(0, 4e9)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Serve with another engine; the exit status."""
    from app import cli

    end = sys.argv.index("--")
    engine, flags = sys.argv[1:end], sys.argv[end + 1 :]
    fault, _, seed = engine[-1].partition("=")
    if fault == "clock":  # of the whole machine
        break_clock(seed)
    return cli.serve(flags, engine_command=[sys.executable, "-m", *engine])


if __name__ == "__main__":
    sys.exit(main())
