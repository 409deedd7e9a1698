"""What the server's processes hold while the soak runs, and what is left at its end."""

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tqdm import tqdm

from benchmarks.resources import Holding, peak_memory
from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor

SAMPLE_SECONDS = 1.0
SAVE_SECONDS = 60.0
REST_SECONDS = 120.0
"""What the server may take, after the load, to be at rest again."""
NOTICE_SECONDS = 1.0
"""What the server may take to notice that something was closed or killed."""
SPARE = 10
"""Files and threads that a process may have more of at its end: its pools grow by need."""
TOLD = ("answers with the known bytes", "jobs finished", "lost", "wrong")
"""The counts that the progress bar shows."""


@dataclass(frozen=True)
class Rest:
    """Open files and threads of the API process and of the engine, with no request in flight."""

    api_files: int
    api_threads: int
    engine_files: int
    engine_threads: int

    def exceeds(self, other: "Rest") -> bool:
        """Is anything more than it was, by more than SPARE?"""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return any(mine > its + SPARE for mine, its in pairs)


@dataclass
class Watch:
    """Samples of every process that lived. `peak` is the most that an API process ever held, in
    bytes (VmHWM)."""

    server: Supervisor
    api: list[Holding] = field(default_factory=list)
    engine: list[Holding] = field(default_factory=list)
    peak: int = 0

    def sample(self) -> None:
        """Now; what ends meanwhile is left out."""
        api = self.server.process
        with contextlib.suppress(psutil.Error, OSError):
            if api is not None:
                self.peak = max(self.peak, peak_memory(api.pid))
                self.api.append(Holding.of(api))
        with contextlib.suppress(psutil.Error, OSError):
            self.engine += [Holding.of(engine) for engine in self.server.engines()]

    async def run(self, seconds: float, seen: Seen, save: Callable[[], None]) -> None:
        """Sample, show the progress, and save what there is, for ever."""
        begun = saved = time.monotonic()
        with tqdm(total=round(seconds), unit="s", desc="soak") as bar:
            while True:
                self.sample()
                now = time.monotonic()
                bar.update(round(now - begun) - bar.n)
                bar.set_postfix({name: seen.counts[name] for name in TOLD}, refresh=False)
                if now - saved > SAVE_SECONDS:
                    save()
                    saved = now
                await asyncio.sleep(SAMPLE_SECONDS)

    async def at_rest(self, before: Rest | None = None) -> Rest:
        """What is held when the engine is ready and nothing runs; given a Rest, as soon as that is
        reached, or after REST_SECONDS."""
        await self.server.ready()
        deadline = time.monotonic() + REST_SECONDS
        while True:
            await asyncio.sleep(NOTICE_SECONDS)
            rest = self._rest()
            if rest is None or (before is not None and rest.exceeds(before)):
                if time.monotonic() < deadline:
                    continue
            return rest or Rest(0, 0, 0, 0)

    def _rest(self) -> Rest | None:
        """Now; None without an engine."""
        self.sample()
        with contextlib.suppress(psutil.Error):
            api, engines = self.server.process, self.server.engines()
            if api is not None and engines:
                mine, held = Holding.of(api), Holding.of(engines[0])
                return Rest(mine.files, mine.threads, held.files, held.threads)
        return None


def files_in(folder: Path) -> list[str]:
    """Every file and folder below; none where there is no such folder."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):  # what is removed meanwhile is passed over
        found += [os.path.relpath(Path(parent, name), folder) for name in [*folders, *files]]
    return sorted(found)
