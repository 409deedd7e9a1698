"""A replica holds an engine process for each server and passes bytes on; the engine is a fake."""

import asyncio
import sys
from collections.abc import Sequence

import pytest

from app.cluster import replica as module
from app.cluster.replica import Beat, EngineReplica
from app.pool.connection import read_message
from app.tasks import end
from app.wire.codec import encode
from app.wire.flight_recorder import Place
from app.wire.messages import Done, Finished, Load, Loaded, Message, Submit
from app.wire.options import Options
from tests.app.pool.engine_processes import until

pytestmark = pytest.mark.anyio

OPTIONS = Options("cpu", "auto", threads=1)
LOAD = Load("m#1", "mnist", "m")
DIES = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]


def fake(step_seconds: float = 0.002) -> list[str]:
    return [sys.executable, "-m", "tests.fake_engine", str(step_seconds)]


class Listening:
    """Reads a replica's beats."""

    def __init__(self, replica: EngineReplica, session: str) -> None:
        self.beats: list[Beat] = []
        self.reader = asyncio.StreamReader()
        self.task = asyncio.create_task(self._read(replica, session))

    async def _read(self, replica: EngineReplica, session: str) -> None:
        async for beat in replica.connect(session, OPTIONS, replica=""):
            self.beats.append(beat)
            self.reader.feed_data(beat.data)
        self.reader.feed_eof()

    async def messages(self, last: type[Message]) -> list[Message]:
        """What the engine says, up to this kind of message."""
        found: list[Message] = []
        while (message := await read_message(self.reader)) is not None:
            found.append(message)
            if isinstance(message, last):
                break
        return found


def tell(replica: EngineReplica, session: str, *messages: Message, backlog: float = 0.0) -> None:
    said = b"".join(map(encode, messages))
    asyncio.get_running_loop().create_task(replica.tell(session, said, backlog, replica=""))


async def connected(replica: EngineReplica, *sessions: str) -> Sequence[Listening]:
    found = [Listening(replica, session) for session in sessions]
    await until(lambda: all(each.beats for each in found))
    return found


async def test_each_server_has_an_engine_process_of_its_own() -> None:
    replica = EngineReplica(fake())
    first, second = await connected(replica, "first", "second")
    assert first.beats[0].pid != second.beats[0].pid
    tell(replica, "first", LOAD)
    assert isinstance((await first.messages(Loaded))[-1], Loaded)
    tell(replica, "first", Submit("a", "m#1", 1, (4,), None, "ddim", 3))
    *_, finished, done = await first.messages(Done)
    assert isinstance(finished, Finished) and isinstance(done, Done)
    await until(lambda: first.beats[-1].places == [Place("a", 4, 2)])
    assert first.beats[-1].oldest == 3
    assert all(not beat.data for beat in second.beats)
    await end([first.task, second.task])


async def test_it_says_something_while_the_engine_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    (server,) = await connected(EngineReplica(fake()), "a")
    await until(lambda: len(server.beats) > 3)
    await end([server.task])


async def test_the_last_beat_tells_of_the_death() -> None:
    server = Listening(EngineReplica(DIES), "a")
    await server.task
    last = server.beats[-1]
    assert (last.is_over, last.was_killed, last.pid) == (True, True, server.beats[0].pid)


async def test_with_its_call_the_process_ends() -> None:
    replica = EngineReplica(fake())
    (server,) = await connected(replica, "a")
    child = replica._sessions["a"].child
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert not child.is_running
    with pytest.raises(KeyError):
        await replica.tell("a", b"", 0.0, replica="")


async def test_a_server_that_says_nothing_any_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.2)
    replica = EngineReplica(fake())
    (server,) = await connected(replica, "a")
    async with asyncio.timeout(10):
        await server.task
    assert not server.beats[-1].is_over and not replica._sessions


async def test_the_autoscaler_is_told_the_work_that_waits_for_all_servers() -> None:
    replica = EngineReplica(fake())
    servers = await connected(replica, "a", "b")
    tell(replica, "a", backlog=2.5)
    tell(replica, "b", backlog=1.0)
    await asyncio.sleep(0)
    assert replica.record_autoscaling_stats() == {"backlog_seconds": 3.5}
    await end(server.task for server in servers)
