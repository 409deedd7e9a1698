"""Load from a client's side: when requests are sent, how long their answers take."""

import asyncio
import itertools
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

KEEP_ALIVE_SECONDS = 1.0
"""Less than any server's: none is to close a connection on which a request is on its way."""


@dataclass(frozen=True)
class Request:
    """What is sent; `images` is how many that makes, for the throughput."""

    path: str
    body: dict[str, Any]
    accept: str = "application/json"

    @property
    def images(self) -> int:
        """The images it asks for."""
        n: int = self.body["n"]
        return n


@dataclass(frozen=True)
class Arrival:
    """A request's kind, and when it is sent, in seconds from the start."""

    at: float
    kind: str


@dataclass(frozen=True)
class Answer:
    """How a request went. Seconds: `finished` from the start of the measurement; `latency` and
    `first_frame` from the moment that it was to be sent, infinite when the answer never came;
    `first_frame` is None where nothing is streamed."""

    kind: str
    images: int
    finished: float
    latency: float
    first_frame: float | None = None
    error: str | None = None


def poisson_schedule(
    mix: Mapping[str, float], rate: float, seconds: float, seed: int
) -> list[Arrival]:
    """Arrivals at `rate` a second for so many seconds, of kinds drawn by the mix's weights. The
    same arguments give the same schedule."""
    source = random.Random(seed)
    kinds, weights = list(mix), list(mix.values())
    arrivals, at = [], source.expovariate(rate)
    while at < seconds:
        arrivals.append(Arrival(at, source.choices(kinds, weights)[0]))
        at += source.expovariate(rate)
    return arrivals


@dataclass(frozen=True)
class ClosedLoop:
    """What clients that ask again as soon as they are answered got; after `seconds` they stopped
    asking."""

    answers: list[Answer]
    clients: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Over whole rounds of as many answers as there are clients, from the end of the first to
        that of the last before they stopped; nan where that is fewer than two rounds.

        Clients that began together are answered in bursts, so both ends must be the same place of
        a burst.
        """
        done = [a for a in self.answers if a.error is None and a.finished <= self.seconds]
        done.sort(key=lambda answer: answer.finished)
        rounds = len(done) // self.clients
        if rounds < 2:
            return math.nan
        counted = done[self.clients : rounds * self.clients]
        begun, ended = done[self.clients - 1].finished, counted[-1].finished
        images = sum(answer.images for answer in counted)
        return images / (ended - begun) if ended > begun else math.nan


class Client:
    """Sends requests to one server; what has not been answered in `timeout` seconds has failed."""

    def __init__(self, url: str, timeout: float) -> None:
        self.timeout = timeout
        self._http = aiohttp.ClientSession(
            url,
            timeout=aiohttp.ClientTimeout(),  # no other
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        )
        self._seeds = itertools.count(1)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send(self, request: Request, kind: str, started: float, due: float) -> Answer:
        """Ask at once. `started` and `due`: when the measurement began and when this request was to
        be sent, by time.perf_counter."""
        first: float | None = None
        error: str | None = None
        body = {**request.body, "seed": next(self._seeds)}  # no answer can come from a cache
        try:
            async with (
                asyncio.timeout(self.timeout),
                self._http.post(
                    request.path, json=body, headers={"Accept": request.accept}
                ) as response,
            ):
                tail = b""
                async for chunk in response.content.iter_any():
                    if first is None and request.accept == "text/event-stream":
                        first = time.perf_counter() - due
                    tail = (tail + chunk)[-4096:]
                if response.status != 200:
                    error = f"status {response.status}"
                elif b"event: error" in tail:
                    error = "error event"
        except (aiohttp.ClientError, TimeoutError) as failure:
            error = type(failure).__name__
        now = time.perf_counter()
        latency = now - due if error is None else math.inf
        return Answer(kind, request.images, now - started, latency, first, error)

    async def open_loop(
        self, arrivals: Sequence[Arrival], requests: Mapping[str, Request]
    ) -> list[Answer]:
        """Send every request at its moment, however the others fare, and wait for all answers."""
        started = time.perf_counter()

        async def one(arrival: Arrival) -> Answer:
            due = started + arrival.at
            await asyncio.sleep(due - time.perf_counter())
            return await self.send(requests[arrival.kind], arrival.kind, started, due)

        return await asyncio.gather(*(one(arrival) for arrival in arrivals))

    async def closed_loop(
        self,
        request: Request,
        kind: str,
        clients: int,
        *,
        seconds: float = 0.0,
        answers: int = 0,
        over: asyncio.Event | None = None,
    ) -> ClosedLoop:
        """Clients that ask again as soon as they are answered: for so many seconds, and until there
        are so many answers, and until `over` is set. What is then on its way is waited for."""
        started = time.perf_counter()
        found: list[Answer] = []
        stopped = math.inf

        async def one() -> None:
            nonlocal stopped
            while True:
                due = time.perf_counter()
                if due - started >= seconds and len(found) >= answers:
                    if over is None or over.is_set():
                        stopped = min(stopped, due - started)
                        return
                found.append(await self.send(request, kind, started, due))

        await asyncio.gather(*(one() for _ in range(clients)))
        return ClosedLoop(found, clients, stopped)
