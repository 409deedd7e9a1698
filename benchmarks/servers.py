"""Servers as processes of their own: started, waited for, measured, ended."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from diffusion.config import Precision
from tests.app.server import free_port

START_SECONDS = 180
STOP_SECONDS = 60
MEMORY_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Kind:
    """How a server is started: `command` is what follows `python -m`, before --port; `variables`
    are added to the environment."""

    name: str
    command: tuple[str, ...]
    ready_path: str
    has_trajectories: bool
    is_ours: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, port: int) -> list[str]:
        """The program that serves at this port, with its arguments."""
        return [sys.executable, "-m", *self.command, f"--port={port}"]

    def environment(self) -> dict[str, str]:
        """The environment that it is started with."""
        # A package in PYTHONPATH or not, the children must find ours.
        path = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **self.variables}


def ours(checkpoint: str, *flags: str) -> Kind:
    """`ddpm serve`."""
    command = ("app.cli", "serve", f"--checkpoint={checkpoint}", *flags)
    return Kind("ours", command, "/readyz", has_trajectories=True, is_ours=True)


def lock(checkpoint: str, device: str, precision: Precision) -> Kind:
    """FastAPI and a lock."""
    command = (
        "benchmarks.peers.lock", f"--checkpoint={checkpoint}", f"--device={device}",
        f"--precision={precision}",
    )  # fmt: skip
    return Kind("lock", command, "/health", has_trajectories=True)


def litserve(checkpoint: str, device: str, precision: Precision, max_batch: int) -> Kind:
    """LitServe with dynamic batching."""
    command = (
        "benchmarks.peers.batching", f"--checkpoint={checkpoint}", f"--device={device}",
        f"--precision={precision}", f"--max-batch={max_batch}",
    )  # fmt: skip
    return Kind(f"litserve-{max_batch}", command, "/health", has_trajectories=False)


def kind_of(
    name: str,
    checkpoint: str,
    device: str,
    our_flags: Sequence[str],
    precision: Precision = "float32",
) -> Kind:
    """The server of a name. Raises ValueError for one that there is not, or is not installed."""
    if name == "ours":
        return ours(checkpoint, f"--precision={precision}", *our_flags)
    if name == "lock":
        return lock(checkpoint, device, precision)
    kind, _, batch = name.partition("-")
    if kind != "litserve" or not batch.isdecimal():
        raise ValueError(f"{name!r}: it must be ours, lock or litserve-BATCH")
    if importlib.util.find_spec("litserve") is None:
        raise ValueError(f"{name}: not installed; pip install -e '.[benchmarks]', or leave it out")
    return litserve(checkpoint, device, precision, int(batch))


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    kind: Kind
    url: str
    process: psutil.Process

    def tree(self) -> list[psutil.Process]:
        """Its processes, the one that was started first."""
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def running(kind: Kind, log: Path) -> Iterator[Running]:
    """A server, ready; every process of it is gone afterwards. Raises RuntimeError with its log
    when it does not get ready."""
    port = free_port()
    with log.open("w") as out:
        popen = subprocess.Popen(
            kind.arguments(port), stdout=out, stderr=subprocess.STDOUT, env=kind.environment()
        )
    server = Running(kind, f"http://127.0.0.1:{port}", psutil.Process(popen.pid))
    try:
        _wait_ready(server, popen, log)
        yield server
    finally:
        _end(server, popen)


def _wait_ready(server: Running, popen: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and popen.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(server.url + server.kind.ready_path).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{server.kind.name} does not get ready:\n{log.read_text()}")


def _end(server: Running, popen: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and SIGKILL to what is left of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = server.tree()
        popen.terminate()
        _, left = psutil.wait_procs(processes, STOP_SECONDS)
        for process in left:
            process.kill()
    popen.wait()


@contextlib.contextmanager
def paused(servers: Sequence[Running]) -> Iterator[None]:
    """They take no processor time meanwhile; some do even without work."""
    processes = [process for server in servers for process in server.tree()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


class Memory:
    """`with Memory(server) as memory:` watches; `memory.peak` is then the most that its processes
    held together, in bytes. What processes share is counted once (PSS)."""

    def __init__(self, server: Running) -> None:
        self.peak = 0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, memory(self._server.tree()))
            if self._over.wait(MEMORY_EVERY_SECONDS):
                return


def memory(processes: Sequence[psutil.Process]) -> int:
    """Bytes that the processes hold together; one that has ended holds none."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total
