"""The pool's engines follow the replicas: real links and engine processes, without Ray."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from app.cluster import roster as module
from app.cluster.replica import EngineReplica
from app.cluster.roster import REPLICAS, Roster
from app.pool.admission import Bounds, Limits
from app.pool.errors import NotReady
from app.pool.models import Models
from app.pool.pool import EnginePool
from app.pool.version import Source
from app.wire.messages import Event, Failed, Finished, Submit
from app.wire.options import Options
from tests.app.cluster.handle import Handle
from tests.app.pool.engine_processes import until

pytestmark = pytest.mark.anyio

POISONED = """
import os
from tests import fake_engine
fake_engine.FakeEngine.count = lambda *_: os.abort()
fake_engine.sys.argv.insert(1, "0.005")
fake_engine.main()
"""
"""An engine that dies of its first step."""
LIMITS = Limits(Bounds(1000, 100_000), Bounds(1000, 100_000))


def replica() -> EngineReplica:
    return EngineReplica([sys.executable, "-m", "tests.fake_engine", "0.005"])


@asynccontextmanager
async def running(
    handle: Handle,
    failures: list[str] | None = None,
    idle_seconds: float | None = None,
    sources: Sequence[Source] = (Source("m", "mnist"),),
    max_bytes: int = 0,
) -> AsyncIterator[EnginePool]:
    """A pool whose roster knows the replicas of `handle` at first."""
    on_unusable = print if failures is None else failures.append
    models = Models(sources, 8, max_bytes, on_unusable)
    pool = EnginePool(models, LIMITS)
    options = Options("cpu", "auto", threads=1)
    REPLICAS.now = frozenset(handle.replicas)
    deployment: Any = handle
    roster = Roster(pool, deployment, options, 60, 30, 5.0, on_unusable, idle_seconds)
    pool.start()
    try:
        async with roster.running():
            yield pool
    finally:
        await pool.stop()
        await until(lambda: all(stream.is_over for stream in handle.streams))


async def ready(pool: EnginePool, number: int) -> None:
    await until(lambda: len(pool.ready_engines) == number == len(pool.engines))


async def read(pool: EnginePool, n: int, model: str = "m#1") -> list[Event]:
    with pool.submit(Submit("a", model, 1, tuple(range(n)), None, "ddim", 20)) as inflight:
        return [event async for event in inflight]


def indices(events: list[Event]) -> list[int]:
    return sorted(event.index for event in events if isinstance(event, Finished))


async def test_there_is_an_engine_on_each_replica() -> None:
    async with running(Handle(a=replica(), b=replica())) as pool:
        await ready(pool, 2)
        assert [engine.name for engine in pool.engines] == ["a", "b"]
        assert indices(await read(pool, 32)) == list(range(32))
        assert all(engine.counts or engine.backlog == 0 for engine in pool.engines)


async def test_engines_come_and_go_with_replicas_and_nothing_is_lost() -> None:
    handle = Handle(a=replica())
    async with running(handle) as pool:
        await ready(pool, 1)
        reading = asyncio.create_task(read(pool, 32))
        await until(lambda: pool.queued_samples)
        handle.replicas["b"] = replica()
        REPLICAS.note(frozenset("ab"))
        await ready(pool, 2)
        REPLICAS.note(frozenset("b"))
        await until(lambda: [engine.name for engine in pool.engines] == ["b"])
        assert indices(await reading) == list(range(32))


async def test_what_a_replica_leaves_undone_another_does() -> None:
    handle = Handle(a=replica(), b=replica())
    async with running(handle) as pool:
        await ready(pool, 2)
        reading = asyncio.create_task(read(pool, 64))
        await until(lambda: pool.queued_samples)
        engine = next(engine for engine in pool.engines if engine.inflight)
        (session,) = handle.replicas[engine.name]._sessions.values()
        os.kill(session.child.pid, signal.SIGKILL)
        assert indices(await reading) == list(range(64))
        await ready(pool, 2)
        assert engine.restarts == 1


async def test_a_server_whose_engines_can_never_start_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    failures: list[str] = []
    async with running(Handle(a=EngineReplica([sys.executable, "-c", ""])), failures):
        await until(lambda: failures)
    assert failures[0] == "the engine died while it was starting"


async def test_a_job_of_which_engines_on_several_replicas_die_fails() -> None:
    poison = [sys.executable, "-c", POISONED]
    handle = Handle(a=EngineReplica(poison), b=EngineReplica(poison))
    async with running(handle) as pool:
        await ready(pool, 2)
        events = await read(pool, 1)
        assert isinstance(events[-1], Failed)
        assert "died 2 times" in events[-1].reason and "step 1 of sample 0" in events[-1].reason
        assert [engine.restarts for engine in pool.engines] == [1, 1]


class Sleeping(Handle):
    """A handle without replicas, as Ray's where there may be none: a call that names none waits for
    one, which starts then. `calls` are those that wait."""

    calls: int = 0

    def options(self, method_name: str = "", *, stream: bool = False) -> Any:
        return self if method_name == "wake" else super().options(method_name, stream=stream)

    def remote(self, *, replica: str) -> "Sleeping":
        assert not replica
        self.calls += 1
        return self

    def cancel(self) -> None:
        self.calls -= 1


async def test_an_engine_is_asked_for_when_one_is_needed_and_told_when_it_is_not() -> None:
    handle = Sleeping()
    async with running(handle, idle_seconds=0.2) as pool:
        await until(lambda: handle.calls == 1)
        handle.replicas["a"] = replica()
        REPLICAS.note(frozenset("a"))
        await ready(pool, 1)
        await until(lambda: handle.calls == 0)
        (session,) = handle.replicas["a"]._sessions.values()
        with pool.models.using(pool.models.default.version):
            await until(lambda: session.backlog_seconds > 0)
        await until(lambda: session.backlog_seconds == 0)
        REPLICAS.note(frozenset())
        await until(lambda: pool.models.is_resting)
        await asyncio.sleep(0.3)
        assert handle.calls == 0, "nobody asks"
        with pytest.raises(NotReady):
            await read(pool, 1)
        await until(lambda: handle.calls == 1)
        handle.replicas["b"] = replica()
        REPLICAS.note(frozenset("b"))
        await ready(pool, 1)
        assert indices(await read(pool, 4)) == [0, 1, 2, 3]


async def test_replicas_without_room_for_all_models_have_what_is_asked_for() -> None:
    """The built-in ones take 4 and 26 MiB of a fake engine."""
    handle = Handle(a=replica(), b=replica())
    sources = Source("m", "mnist"), Source("c", "cifar10")
    async with running(handle, sources=sources, max_bytes=28 << 20) as pool:
        models = pool.models
        m, c = models.versions
        await until(lambda: len(models.where(m)) == len(models.where(c)) == 1)
        for version in (m, c, m, c):
            assert indices(await read(pool, 2, version.key)) == [0, 1], "nothing is loaded for it"
        REPLICAS.note(frozenset("a"))
        await until(lambda: [engine.name for engine in pool.engines] == ["a"])
        for version in (m, c, m):
            with contextlib.suppress(NotReady):
                await read(pool, 1, version.key)
            await until(partial(pool.engines[0].serves, version.key))
            assert indices(await read(pool, 2, version.key)) == [0, 1]
