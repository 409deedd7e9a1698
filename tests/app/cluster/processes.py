"""The processes of a server's replicas, and how to wait for its engines."""

import time

import httpx
import psutil

from tests.app.http.test_metrics import read
from tests.app.server import Server

WAIT_SECONDS = 120


def replicas(server: Server, name: str = "engines") -> list[psutil.Process]:
    """The processes of a deployment's replicas."""
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        if title.startswith(f"ray::ServeReplica:ddpm:{name}"):
            found.append(process)
    return found


def wait_for_engines(server: Server, number: int = 2) -> None:
    """Until so many engines are ready, and no others are known."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            ready = [on for name, on in read(server).items() if name[0] == "ddpm_engine_ready"]
        except (httpx.TransportError, ValueError):  # the server itself has just been killed
            ready = []
        if ready == [1.0] * number:
            return
        time.sleep(0.1)
    raise AssertionError(server.log.read_text()[-4000:])
