"""What becomes of what was asked: counted, and told where it should not be."""

import asyncio

import pytest

from benchmarks.soak.seen import MAX_PROBLEMS, Lost, Seen, Wrong

pytestmark = pytest.mark.anyio


async def test_a_block_that_fails_is_a_problem_and_the_soak_goes_on() -> None:
    seen = Seen()
    for error in (Lost("gone"), Wrong("other bytes"), ValueError("no JSON")):
        async with seen.watching("a job", 60.0):
            raise error
    async with seen.watching("a job", 0.01):
        await asyncio.sleep(60)
    assert seen.counts == {"lost": 3, "wrong": 1}
    told = [problem.split(" ", 1)[1] for problem in seen.problems]
    assert told == [
        "lost: a job: Lost('gone')",
        "wrong: a job: other bytes",
        "lost: a job: ValueError('no JSON')",
        "lost: a job: not done in 0.01 s",
    ]


async def test_a_block_that_succeeds_or_is_cancelled_is_none() -> None:
    seen = Seen()
    async with seen.watching("a job", 60.0):
        seen.count("jobs finished")
    with pytest.raises(asyncio.CancelledError):
        async with seen.watching("a job", 60.0):
            raise asyncio.CancelledError
    assert (seen.counts, seen.problems) == ({"jobs finished": 1}, [])


async def test_problems_without_end_are_counted_and_not_all_told() -> None:
    seen = Seen()
    for _ in range(MAX_PROBLEMS + 10):
        seen.problem("lost", "again")
    assert (seen.counts["lost"], len(seen.problems)) == (MAX_PROBLEMS + 10, MAX_PROBLEMS)
