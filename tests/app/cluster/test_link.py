"""The server's end of a connection: what is said, and every way in which it is lost."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.cluster import link as module
from app.cluster.link import ReplicaLink
from app.cluster.replica import Beat
from app.pool.connection import Death
from app.wire.codec import encode
from app.wire.flight_recorder import Place
from app.wire.messages import Cancel, Starting
from app.wire.options import Options
from tests.app.cluster.handle import Response
from tests.app.pool.engine_processes import until

pytestmark = pytest.mark.anyio

OPTIONS = Options("cpu", "auto", threads=1)
MESSAGE = Starting("m#1", "loading")
ALIVE = Beat(17, 3, [Place("job", 4, 2)])
REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="")


class Fake:
    """A deployment's handle whose replica says what a test puts into `said`: beats, or an error."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Beat | Exception] = asyncio.Queue()
        self.told: list[bytes] = []
        self.refusal: Exception | None = None
        self.is_cancelled = False
        self.requests: set[str] = set()
        self._method = ""

    def options(self, *, method_name: str, stream: bool = False) -> Any:
        assert stream == (method_name == "connect")
        return self if stream else self.tell

    @property
    def tell(self) -> Any:
        outer = self

        class Tell:
            def remote(self, *arguments: Any, replica: str) -> Response:
                return Response(self._tell(*arguments, replica=replica))

            async def _tell(self, _: str, messages: bytes, __: float, *, replica: str) -> None:
                assert replica == "r"
                outer.requests.add(REQUEST.get())
                if outer.refusal is not None:
                    raise outer.refusal
                outer.told.append(messages)

        return Tell()

    def remote(self, _: str, __: Options, *, replica: str) -> Any:
        assert replica == "r"
        self.requests.add(REQUEST.get())
        return self

    def __aiter__(self) -> AsyncIterator[Beat]:
        return self  # type: ignore[return-value]

    async def __anext__(self) -> Beat:
        beat = await self.said.get()
        if isinstance(beat, Exception):
            raise beat
        return beat

    def cancel(self) -> None:
        self.is_cancelled = True


async def opened(fake: Fake, silence_seconds: float = 30.0) -> ReplicaLink:
    link = ReplicaLink(fake, "r", silence_seconds, lambda: 2.5)
    fake.said.put_nowait(ALIVE)
    await link.open(OPTIONS)
    return link


async def test_what_the_engine_says_arrives_in_whatever_pieces() -> None:
    fake = Fake()
    link = await opened(fake)
    assert (link.pid, link.oldest, link.is_running) == (17, 3, True)
    wire = encode(MESSAGE) * 2
    for part in (wire[:3], wire[3:30], wire[30:]):
        fake.said.put_nowait(ALIVE._replace(data=part))
    assert [await link.receive(), await link.receive()] == [MESSAGE, MESSAGE]
    await link.end()


async def test_what_is_said_at_once_is_told_at_once_and_otherwise_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TELL_SECONDS", 0.05)
    fake = Fake()
    link = await opened(fake)
    for name in ("a", "b"):
        link.send(encode(Cancel(name)))
    await until(lambda: len(fake.told) > 2)
    assert b"".join(fake.told) == encode(Cancel("a")) + encode(Cancel("b"))
    assert encode(Cancel("a")) + encode(Cancel("b")) in fake.told
    await link.end()


async def test_a_replica_that_leaves_is_told_nothing_for_which_another_would_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TELL_SECONDS", 0.001)
    fake, is_there = Fake(), False
    link = ReplicaLink(fake, "r", 30.0, lambda: 0.0, lambda: is_there)  # type: ignore[arg-type]
    fake.said.put_nowait(ALIVE)
    await link.open(OPTIONS)
    link.send(encode(MESSAGE))
    await asyncio.sleep(0.02)
    assert not fake.told
    is_there = True
    await until(lambda: bool(fake.told))
    assert fake.told[0] == encode(MESSAGE), "what waited is said"
    await link.end()


async def test_its_calls_belong_to_no_request() -> None:
    REQUEST.set("of a client")
    fake = Fake()
    link = await opened(fake)
    link.send(b"1234")
    await until(lambda: fake.told)
    assert fake.requests == {""}
    await link.end()


@pytest.mark.parametrize("was_killed", [True, False])
async def test_the_death_of_the_process_is_what_the_replica_says(was_killed: bool) -> None:
    fake = Fake()
    link = await opened(fake)
    places = [Place("job", 5, 0)]
    fake.said.put_nowait(Beat(17, 4, places, is_over=True, was_killed=was_killed))
    assert await link.receive() is None
    assert not link.is_running
    assert await link.end() == Death(places, was_killed)


@pytest.mark.parametrize("error", [RuntimeError("the actor died"), StopAsyncIteration()], ids=repr)
async def test_a_replica_that_is_lost_was_killed_at_the_places_of_its_last_beat(
    error: Exception,
) -> None:
    fake = Fake()
    link = await opened(fake)
    fake.said.put_nowait(error)
    assert await link.receive() is None
    assert await link.end() == Death(ALIVE.places, was_killed=True)
    assert fake.is_cancelled


async def test_a_replica_that_is_silent_is_lost() -> None:
    fake = Fake()
    link = await opened(fake, silence_seconds=0.05)
    assert await link.receive() is None
    assert fake.is_cancelled
    await link.end()


async def test_a_replica_that_cannot_be_told_is_lost() -> None:
    fake = Fake()
    link = await opened(fake)
    fake.refusal = KeyError("session")
    link.send(b"1234")
    assert await link.receive() is None
    await link.end()


async def test_what_is_killed_from_here_was_not_killed_by_somebody_else() -> None:
    fake = Fake()
    link = await opened(fake)
    link.kill()
    assert await link.receive() is None
    assert await link.end() == Death(ALIVE.places, was_killed=False)
    assert fake.is_cancelled


async def test_a_process_that_cannot_be_started_says_why() -> None:
    fake = Fake()
    link = ReplicaLink(fake, "r", 30.0, lambda: 0.0)
    fake.said.put_nowait(OSError("no memory\nand more"))
    with pytest.raises(ConnectionError, match="^replica r: OSError: no memory$"):
        await link.open(OPTIONS)
