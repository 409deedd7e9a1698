"""A server that is started again whenever it ends, as systemd would do it."""

import asyncio
import contextlib
import signal
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import Self

import httpx
import psutil

from benchmarks.resources import engines
from benchmarks.servers import START_SECONDS, STOP_SECONDS, Kind
from benchmarks.soak.seen import Seen
from tests.app.server import free_port

PAUSE_SECONDS = 1.0
"""From the server's end to its next start; systemd's RestartSec."""
ORPHAN_SECONDS = 30.0
"""What an engine may take to end by itself when its server was killed."""
LOOK_SECONDS = 0.1


class Supervisor:
    """`async with Supervisor(kind, log, seen) as server:` keeps one server running; it is ready.

    An end that was not asked for with `kill` is a problem, and so is a status other than 0 after
    SIGTERM.
    """

    def __init__(self, kind: Kind, log: Path, seen: Seen) -> None:
        self.kind = kind
        self.starts = 0
        self._log = log
        self.seen = seen
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Process | None = None
        self._asked: signal.Signals | None = None  # to end
        self._up = asyncio.Event()
        self._up_at = 0.0
        self._all: set[psutil.Process] = set()

    async def __aenter__(self) -> Self:
        self._living = asyncio.create_task(self._live())
        async with asyncio.timeout(START_SECONDS):
            await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        """SIGTERM; whatever is left of it afterwards is a problem, and killed."""
        await self.stop()
        left = await self._left()
        self.seen.count("processes left over", len(left))
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def process(self) -> psutil.Process | None:
        """The API process; None while there is none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._process is not None and self._process.returncode is None:
                return psutil.Process(self._process.pid)
        return None

    def engines(self) -> list[psutil.Process]:
        """The engines of the API process."""
        found = [] if self.process is None else engines(self.process)
        self._all |= set(found)
        return found

    async def kill(self, how: signal.Signals) -> None:
        """End the API process with that signal, and wait until it has been started again."""
        if self._process is not None and self._up.is_set():
            await self._terminate(self._process, how)
            await self.up()

    async def up(self) -> None:
        """Until it answers at all."""
        await self._up.wait()

    def was_out_since(self, begun: float) -> bool:
        """Whether, since then (time.monotonic), `kill` has cut connections."""
        return not self._up.is_set() or self._up_at > begun

    async def ready(self) -> None:
        """Until GET /readyz says so."""
        await self._until("/readyz")

    async def stop(self) -> None:
        """SIGTERM, for good."""
        self._living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._living
        if self._process is not None and self._process.returncode is None:
            await self._terminate(self._process, signal.SIGTERM)
            self._judge(self._process)

    async def _live(self) -> None:
        """One life after another."""
        while True:
            with self._log.open("a") as out:
                process = await asyncio.create_subprocess_exec(
                    *self.kind.arguments(self._port), stdout=out, stderr=out,
                    env=self.kind.environment(),
                )  # fmt: skip
            self._process = process
            self.starts += 1
            with contextlib.suppress(psutil.NoSuchProcess):
                self._all.add(psutil.Process(process.pid))
            rising = asyncio.create_task(self._rise())
            try:
                await process.wait()
            finally:
                rising.cancel()
            self._up.clear()
            self._judge(process)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _rise(self) -> None:
        await self._until("/livez")
        self._up_at = time.monotonic()
        self._up.set()

    async def _terminate(self, process: Process, how: signal.Signals) -> None:
        """Send the signal and wait for the end; after STOP_SECONDS SIGKILL ends it."""
        self.engines()  # it remembers them
        self._asked = how
        self._up.clear()
        process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self.seen.problem("servers that ended badly", f"not in {STOP_SECONDS} s after {how}")
            process.kill()
            await process.wait()

    def _judge(self, process: Process) -> None:
        """Note an end that should not be."""
        expected = 0 if self._asked is signal.SIGTERM else -signal.SIGKILL
        if self._asked is None or process.returncode != expected:
            why = "by itself" if self._asked is None else f"after {self._asked.name}"
            self.seen.problem("servers that ended badly", f"{why}, status {process.returncode}")
        self._asked = None

    async def _until(self, path: str) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=10.0) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(path)).status_code == 200:
                        return
                await asyncio.sleep(LOOK_SECONDS)

    async def _left(self) -> list[psutil.Process]:
        """The processes of all its lives that do not end."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            left = [process for process in self._all if is_alive(process)]
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(LOOK_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs still; one that only nobody has waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
