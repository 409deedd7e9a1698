"""Everything that goes wrong in the night, each again and again until the calm."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.soak.database import Database
from benchmarks.soak.disk import Disk
from benchmarks.soak.plan import Plan
from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor
from benchmarks.soak.watch import Watch

FILL_SECONDS = 0.2
TROUBLE_SECONDS = 300.0
"""What one trouble may take, with the recovery that it waits for."""
ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
"""How the API process is ended, drawn each time."""
DATABASE_ENDS = (signal.SIGINT, signal.SIGQUIT)
"""How PostgreSQL is: shut down, and as in a crash."""
PARTS_OF_FULL_DISK = 2.0
"""A full disk is as long as the troubles, divided by this, at most."""


@dataclass(frozen=True)
class Troubles:
    """What is disturbed."""

    plan: Plan
    server: Supervisor
    disk: Disk
    database: Database
    watch: Watch

    @property
    def seen(self) -> Seen:
        """Where they are counted."""
        return self.server.seen

    async def run(self, calm: float) -> None:
        """Until then (time.monotonic)."""
        plan = self.plan
        async with asyncio.TaskGroup() as together:
            for name, every, act in (
                ("engines killed", plan.kill_engine_every, self._kill_engine),
                ("servers killed", plan.kill_api_every, self._kill_api),
                ("database", plan.restart_database_every, self._disturb_database),
                ("disk", 2 * plan.troubled, self._fill_disk),  # once
            ):
                source = random.Random(f"{plan.seed} {name}")
                together.create_task(self._again(source, every, act, calm))

    async def _again(
        self,
        source: random.Random,
        every: float,
        act: Callable[[random.Random], Awaitable[None]],
        calm: float,
    ) -> None:
        """Act once soon, so that it happens at all, and then on average so often, from when the
        server is ready again: on a slow machine, too, it has time to do something."""
        pause = source.uniform(0.1, 0.5) * min(every, self.plan.troubled)
        while time.monotonic() + pause < calm:
            await asyncio.sleep(pause)
            async with self.seen.watching("a trouble", TROUBLE_SECONDS):
                await act(source)
                await self.server.ready()
            pause = source.uniform(0.5, 1.5) * every

    async def _kill_engine(self, source: random.Random) -> None:
        """SIGKILL to one that is ready: a server whose first engine dies ends itself."""
        await self.server.ready()
        if found := self.server.engines():
            source.choice(found).kill()
            self.seen.count("engines killed")

    async def _kill_api(self, source: random.Random) -> None:
        how = source.choice(ENDS)
        self.watch.sample()  # its last
        await self.server.kill(how)
        self.seen.count(f"servers ended with {how.name}")

    async def _disturb_database(self, source: random.Random) -> None:
        if self.database.trouble is not None:
            await self.database.disturb(source.choice(DATABASE_ENDS))
            self.seen.count(self.database.trouble)

    async def _fill_disk(self, source: random.Random) -> None:  # noqa: ARG002 - nothing to draw
        seconds = min(self.plan.full_disk_seconds, self.plan.troubled / PARTS_OF_FULL_DISK)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                await asyncio.to_thread(self.disk.fill)
                await asyncio.sleep(FILL_SECONDS)
        finally:
            self.disk.empty()
        self.seen.count("seconds with a full disk", round(seconds))
