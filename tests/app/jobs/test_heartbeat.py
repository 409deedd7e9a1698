"""A lease lasts as long as the block that holds it, which ends when the lease is lost."""

import asyncio
from typing import cast

import pytest

from app.jobs.errors import LostLease, StorageFull, StorageUnavailable
from app.jobs.heartbeat import heartbeat
from app.jobs.leases import Leases
from tests.app.jobs.rows import job

pytestmark = pytest.mark.anyio

SECONDS = 0.003


class Extended:
    """Leases that only note for how long one is extended, until `error` is raised instead."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seconds: list[float] = []
        self._error = error

    async def extend(self, _: object, seconds: float) -> None:
        if self._error is not None:
            raise self._error
        self.seconds.append(seconds)

    def as_leases(self) -> Leases:
        """Itself, to the type checker real leases."""
        return cast(Leases, self)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_lease_is_extended_after_each_third_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    is_enough = asyncio.Event()

    async def note(seconds: float) -> None:
        if not seconds:
            return
        if len(pauses) == 3:
            is_enough.set()
            await for_ever()
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    leases = Extended()
    async with heartbeat(leases.as_leases(), job(), 60.0):
        await is_enough.wait()
    assert (pauses, leases.seconds) == ([20.0] * 3, [60.0] * 3)


async def test_nothing_is_extended_after_the_block_however_that_ends() -> None:
    before = asyncio.all_tasks()
    async with heartbeat(Extended().as_leases(), job(), SECONDS):
        assert len(asyncio.all_tasks() - before) == 1
    assert asyncio.all_tasks() == before
    with pytest.raises(ValueError, match="^its own$"):
        async with heartbeat(Extended().as_leases(), job(), SECONDS):
            raise ValueError("its own")
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("error", [LostLease("a"), StorageUnavailable("b"), StorageFull("c")])
async def test_a_lease_that_cannot_be_kept_ends_the_block_with_the_reason(
    error: Exception,
) -> None:
    with pytest.raises(type(error), match=f"^{error}$"):
        async with heartbeat(Extended(error).as_leases(), job(), SECONDS):
            await for_ever()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling(), "it goes on as if never cancelled"


async def test_a_block_that_ends_as_its_lease_is_lost_ends_with_the_reason() -> None:
    class Failing(Extended):
        async def extend(self, _: object, seconds: float) -> None:  # noqa: ARG002
            fails.set()
            raise LostLease("a")

    fails = asyncio.Event()
    with pytest.raises(LostLease, match="^a$"):
        async with heartbeat(Failing().as_leases(), job(), SECONDS):
            await fails.wait()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()


async def test_a_block_that_somebody_else_cancels_ends_as_cancelled() -> None:
    before, has_begun = asyncio.all_tasks(), asyncio.Event()

    async def hold() -> None:
        async with heartbeat(Extended().as_leases(), job(), SECONDS):
            has_begun.set()
            await for_ever()

    turn = asyncio.create_task(hold())
    await has_begun.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert asyncio.all_tasks() == before


async def test_a_block_that_somebody_cancels_after_its_lease_was_lost_ends_as_cancelled() -> None:
    is_lost = asyncio.Event()

    async def hold() -> None:
        async with heartbeat(Extended(LostLease("a")).as_leases(), job(), SECONDS):
            try:
                await for_ever()
            finally:
                is_lost.set()
                await for_ever()

    turn = asyncio.create_task(hold())
    await is_lost.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
