"""Tasks end, also those that lose a cancellation."""

import asyncio

import pytest

from app.tasks import end, finish, together


async def stubborn(losses: int) -> None:
    """Takes that many cancellations for something else."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not losses:
                raise
            losses -= 1


def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    async def run() -> None:
        tasks = [asyncio.create_task(stubborn(losses)) for losses in (0, 1, 2)]
        await asyncio.sleep(0)
        await end(tasks)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(run())


def test_when_one_fails_the_others_end() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    async def run() -> None:
        others = len(asyncio.all_tasks())
        with pytest.raises(ValueError, match="broken"):
            await together(stubborn(1), fail())
        assert len(asyncio.all_tasks()) == others

    asyncio.run(run())


def test_cancelled_while_it_ends_them_it_leaves_none() -> None:
    async def run() -> None:
        work = asyncio.create_task(together(stubborn(2), stubborn(0)))
        await asyncio.sleep(0.01)
        await end([work])
        assert work.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_what_is_to_finish_finishes_before_the_cancellation_is_raised() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")
        await asyncio.sleep(0.02)
        steps.append("finished")
        raise ValueError("which nobody hears of")

    async def run() -> None:
        caller = asyncio.create_task(finish(work()))
        await asyncio.sleep(0.01)
        for _ in range(2):
            caller.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert steps == ["begun", "finished"]

    asyncio.run(run())


def test_what_finishes_gives_its_result_or_its_error() -> None:
    async def give(value: int) -> int:
        if not value:
            raise ValueError("nothing")
        return value

    assert asyncio.run(finish(give(3))) == 3
    with pytest.raises(ValueError, match="nothing"):
        asyncio.run(finish(give(0)))


def test_what_does_not_finish_is_left_to_itself_when_patience_is_over() -> None:
    async def run() -> None:
        done = asyncio.Event()
        caller = asyncio.create_task(finish(wait_for(done), patience=0.05))
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        (left,) = asyncio.all_tasks() - {asyncio.current_task()}
        done.set()
        await left
        assert not left.cancelled()

    async def wait_for(done: asyncio.Event) -> None:
        await done.wait()

    asyncio.run(run())
