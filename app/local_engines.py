"""The engines of this machine: one on each device that the settings name.

Their processes may be started before the service that has them is put together: what a process
loads first takes a second, and so does that.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from app.pool.child import COMMAND, Child, start
from app.pool.connection import Connection
from app.pool.engine_process import EngineProcess
from app.pool.pool import EnginePool
from app.settings import Settings
from app.wire.options import Options


class LocalEngines:
    """Their processes, which `command` starts, and how they come into a pool."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._ahead: dict[str, Child] = {}  # by device: started, and no engine's yet

    async def start(self) -> None:
        """Start the first process of each engine. What the system refuses now, the engine tries
        again, and tells."""
        for device in self._settings.devices:
            with contextlib.suppress(OSError):
                self._ahead[device] = await self._start(device)

    def join(self, pool: EnginePool, on_unusable: Callable[[str], None]) -> None:
        """Give the engines to a pool, which starts them; `on_unusable` is told why one cannot go
        on."""
        for number, device in enumerate(self._settings.devices):
            engine = EngineProcess(
                str(number),
                f"device: {device}",
                partial(self._connect, device),
                self._settings.hang_seconds,
                on_unusable,
                pool,
            )
            pool.add(engine)

    async def stop(self) -> None:
        """End the processes that became no engine's."""
        while self._ahead:
            _, child = self._ahead.popitem()
            child.kill()
            await child.end()

    async def _connect(self, device: str) -> Connection:
        return self._ahead.pop(device, None) or await self._start(device)

    async def _start(self, device: str) -> Child:
        settings = self._settings
        return await start(
            self._command, engine_options(settings, device, settings.threads_per_engine)
        )


def engine_options(settings: Settings, device: str, threads: int) -> Options:
    """What an engine on this device is told when it starts."""
    return Options(
        device=device,
        runtime=settings.runtime,
        threads=threads,
        precision=settings.precision,
        cache=settings.cache,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
