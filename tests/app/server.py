"""A real server process for the tests: `ddpm serve` on a free port, stopped by SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 120
STOP_SECONDS = 30
FAULTS = Path(__file__).parent / "faults"


class Server:
    """`with Server(log, "--max-samples=64") as server:`; `server.client` talks to it. Its jobs are
    beside its log."""

    def __init__(self, log: Path, *flags: str, port: int | None = None, **environment: str) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [sys.executable, "-m", "app.cli", "serve", f"--port={self.port}", *flags]
        jobs = {"DDPM_JOBS_FOLDER": str(log.parent / "jobs"), **os.environ}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**jobs, **environment}
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

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

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


def faulty(fault: str) -> dict[str, str]:
    """The variables with which that goes wrong in an engine: see faults/sitecustomize.py."""
    path = os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")])
    return {"FAULT": fault, "PYTHONPATH": path}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
