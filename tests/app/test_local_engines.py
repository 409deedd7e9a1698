"""Engines of this machine, whose processes may be started before the service."""

import os
import sys
from typing import Any, cast

import pytest

from app.local_engines import LocalEngines, engine_options
from app.pool.child import Child
from app.pool.engine_process import EngineProcess
from app.pool.pool import EnginePool
from app.settings import Settings

pytestmark = pytest.mark.anyio

WAITING = [sys.executable, "-c", "import time; time.sleep(600)"]
SETTINGS = Settings(device="cpu,cuda:1", threads=3, precision="float32", cache="")


class Pool:
    """Takes engines, and does not start them."""

    def __init__(self) -> None:
        self.engines: list[EngineProcess] = []

    def add(self, engine: EngineProcess) -> None:
        self.engines.append(engine)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def joined(engines: LocalEngines) -> list[EngineProcess]:
    """The engines that a pool gets."""
    pool = Pool()
    engines.join(cast(EnginePool, pool), on_unusable=print)
    return pool.engines


async def connect(engine: EngineProcess) -> Child:
    """As the engine does when it starts a process."""
    child: Any = await engine._connect()
    assert isinstance(child, Child)
    return child


async def end(*children: Child) -> None:
    for child in children:
        child.kill()
        await child.end()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_engine_has_the_process_that_was_started_ahead_then_others() -> None:
    engines = LocalEngines(SETTINGS, WAITING)
    await engines.start()
    ahead = dict(engines._ahead)
    assert list(ahead) == ["cpu", "cuda:1"]
    first, second = joined(engines)
    assert (first.name, second.name) == ("0", "1")
    assert await connect(second) is ahead["cuda:1"]
    assert await connect(first) is ahead["cpu"]
    another = await connect(first)
    assert another not in ahead.values()
    await engines.stop()
    assert all(child.is_running for child in (*ahead.values(), another)), "they are the engines'"
    await end(*ahead.values(), another)


async def test_processes_that_no_engine_took_are_ended() -> None:
    engines = LocalEngines(SETTINGS, WAITING)
    await engines.start()
    pids = [child.pid for child in engines._ahead.values()]
    assert all(map(is_running, pids))
    await engines.stop()
    assert not any(map(is_running, pids))


async def test_what_cannot_be_started_ahead_is_for_the_engine_to_tell() -> None:
    engines = LocalEngines(SETTINGS, ["/there/is/no/such/program"])
    await engines.start()
    engine, _ = joined(engines)
    with pytest.raises(FileNotFoundError):
        await connect(engine)


def test_an_engine_is_told_of_its_device_and_of_the_settings() -> None:
    options = engine_options(SETTINGS, "cuda:1", 3)
    assert (options.device, options.threads, options.precision, options.cache) == (
        "cuda:1", 3, "float32", "",
    )  # fmt: skip
