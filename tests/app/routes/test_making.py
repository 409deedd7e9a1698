"""Answers in the making, on a pool that runs nothing: who begins one, who joins, and how it ends.

tests/app/routes/test_answers.py has them over HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from app.generation.answer_cache import AnswerCache
from app.generation.budget import Budget, Room
from app.generation.errors import JobFailed
from app.generation.formats import SAMPLE
from app.generation.plan import Envelope, Plan, plan
from app.generation.schemas.requests import SampleRequest
from app.pool.admission import Bounds
from app.pool.errors import ClientOverLimit, TooLate
from app.pool.inflight import InFlight
from app.pool.pool import EnginePool
from app.pool.tally import Queue
from app.routes.making import Making, Makings
from app.settings import Settings
from app.wire.messages import Done, Failed, Finished, Submit
from tests.model_info import MODEL
from tests.served import models_of

PNG = SAMPLE["image/png"]
BOUNDS = Bounds(1, 1)
X_0 = np.zeros(MODEL.image_shape, np.float32).tobytes()


class Pool:
    """Admits all but one client, and runs nothing."""

    def __init__(self) -> None:
        self.models, _ = models_of()
        self.jobs: list[InFlight] = []
        self.queue = Queue()
        self.released: list[str] = []

    def submit(self, submit: Submit, client: Bounds) -> InFlight:
        assert client is BOUNDS
        inflight = InFlight(submit, None, self, lambda *_: None)
        inflight.call(self.queue.share(submit.client))
        self.jobs.append(inflight)
        return inflight

    def join(self, inflight: InFlight, submit: Submit, _: Bounds) -> None:
        if submit.client == "greedy":
            raise ClientOverLimit("no room")
        inflight.call(self.queue.share(submit.client))

    def leave(self, inflight: InFlight, client: str) -> None:
        inflight.hang_up(client)

    def keep_pace(self, inflight: InFlight) -> None: ...

    def charge(self, inflight: InFlight) -> None: ...

    def release(self, inflight: InFlight) -> None:
        self.released.append(inflight.submit.id)


class Kitchen:
    """Makings, and what it takes to join them."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.cache = AnswerCache(100_000)
        self.budget = Budget(1_000_000)
        self.version = self.pool.models.default.version
        self.makings = Makings(cast(EnginePool, self.pool), ThreadPoolExecutor(1), self.cache)

    def planned(self, client: str) -> Plan:
        return plan(SampleRequest(seed=1), MODEL, Settings(), Envelope("m#1", client))

    def join(self, name: str | None, client: str, room: Room) -> Any:
        bounds = BOUNDS
        return self.makings.join(name, self.planned(client), PNG, room, self.version, bounds)

    async def ask(self, name: str | None, client: str = "a", seconds: float = 30.0) -> bytes:
        with await self.budget.take(1000, client) as room, self.join(name, client, room) as making:
            assert isinstance(making, Making)
            return b"".join((await making.wait(seconds)).encoded.blocks)

    def finish(self, number: int = 0) -> None:
        job = self.pool.jobs[number]
        job.accept(Finished(job.submit.id, 0, X_0))
        job.accept(Done(job.submit.id, 0.0, 1.0))


def run(story: Callable[[Kitchen], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        kitchen = Kitchen()
        await story(kitchen)
        assert kitchen.version.users == 0, "its model is needed no longer"
        assert not kitchen.makings.is_made("x")
        assert len(kitchen.pool.released) == len(kitchen.pool.jobs)

    asyncio.run(all_of_it())


async def begun(*asked: Any) -> list[asyncio.Task[bytes]]:
    tasks = [asyncio.ensure_future(one) for one in asked]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_equal_ones_are_made_once_and_kept() -> None:
    async def story(kitchen: Kitchen) -> None:
        asked = await begun(kitchen.ask("x", "a"), kitchen.ask("x", "b"))
        assert len(kitchen.pool.jobs) == 1 and kitchen.makings.is_made("x")
        assert kitchen.version.users == 1
        kitchen.finish()
        first, second = await asyncio.gather(*asked)
        assert first == second and first.startswith(b"\x89PNG")
        await asyncio.sleep(0)
        kept = kitchen.cache.get("x")
        assert kept is not None and b"".join(kept.encoded.blocks) == first

    run(story)


def test_what_has_no_name_has_no_equal_and_is_not_kept() -> None:
    async def story(kitchen: Kitchen) -> None:
        asked = await begun(kitchen.ask(None), kitchen.ask(None))
        kitchen.finish(0)
        kitchen.finish(1)
        await asyncio.gather(*asked)
        await asyncio.sleep(0)
        assert len(kitchen.pool.jobs) == 2 and len(kitchen.cache) == 0

    run(story)


def test_the_last_one_that_leaves_cancels_it_and_the_next_one_begins_anew() -> None:
    async def story(kitchen: Kitchen) -> None:
        first, second = await begun(kitchen.ask("x"), kitchen.ask("x"))
        first.cancel()
        await asyncio.sleep(0.01)
        assert kitchen.makings.is_made("x") and not kitchen.pool.released
        second.cancel()
        (third,) = await begun(kitchen.ask("x"))
        assert len(kitchen.pool.jobs) == 2
        kitchen.finish(1)
        assert await third

    run(story)


def test_each_waits_as_long_as_it_likes() -> None:
    async def story(kitchen: Kitchen) -> None:
        (patient,) = await begun(kitchen.ask("x"))
        with pytest.raises(TooLate, match="only 0 of 1 samples"):
            await kitchen.ask("x", seconds=0.01)
        kitchen.finish()
        assert await patient

    run(story)


def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    async def story(kitchen: Kitchen) -> None:
        asked = await begun(kitchen.ask("x"), kitchen.ask("x"))
        job = kitchen.pool.jobs[0]
        job.accept(Failed(job.submit.id, "why"))
        for one in asked:
            with pytest.raises(JobFailed, match="why"):
                await one
        await asyncio.sleep(0)
        assert len(kitchen.cache) == 0

    run(story)


def test_whoever_is_not_admitted_changes_nothing() -> None:
    async def story(kitchen: Kitchen) -> None:
        (first,) = await begun(kitchen.ask("x"))
        with pytest.raises(ClientOverLimit):
            await kitchen.ask("x", "greedy")
        kitchen.finish()
        assert await first

    run(story)
