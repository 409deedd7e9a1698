"""What the tests of the soak share: a server whose engine is ready at once, and clients of none."""

import time
from collections.abc import Callable, Iterable
from typing import cast

import httpx

from benchmarks.servers import Kind
from benchmarks.soak.asking import Asker
from benchmarks.soak.seen import Seen
from benchmarks.soak.supervisor import Supervisor
from tests.app.server import FAKE


def faked(*flags: str) -> Kind:
    """`ddpm serve` with a fake engine."""
    command = ("tests.app.server", *FAKE, "--", *flags)
    return Kind("fake", command, "/readyz", has_trajectories=True, is_ours=True)


class FakeServer:
    """A supervisor whose server was killed just now, or never."""

    url = "http://server"

    def __init__(self, *, was_killed: bool) -> None:
        self.was_killed = was_killed

    def was_out_since(self, begun: float) -> bool:
        assert begun <= time.monotonic()
        return self.was_killed

    async def up(self) -> None:
        pass


def asker_of(
    answer: Callable[[httpx.Request], httpx.Response], *, was_killed: bool = False
) -> Asker:
    """One whose requests are answered by a function."""
    server = cast(Supervisor, FakeServer(was_killed=was_killed))
    made = Asker(server, Seen(), "key", max_pause=0.01)
    made.http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=FakeServer.url)
    return made


def asker(answers: Iterable[httpx.Response | Exception], *, was_killed: bool = False) -> Asker:
    """One that gets these answers, in this order."""
    coming = iter(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        found = next(coming)
        if isinstance(found, Exception):
            raise found
        return found

    return asker_of(answer, was_killed=was_killed)
