"""The budget for all answers' memory: who is let in, who waits, and when bytes are given back."""

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.generation.budget import Budget, Room
from app.generation.errors import AnswersFull, AnswerTooLarge, ClientHoldsTooMuch

pytestmark = pytest.mark.anyio
NUMBERS = itertools.count()


async def taken(budget: Budget, size: int, client: str = "") -> Room:
    """Room that nobody gives back yet; without a name, of a client of its own."""
    return await budget.take(size, client or f"client {next(NUMBERS)}")


def give_back(room: Room) -> None:
    with room:
        pass


async def test_the_largest_answer_is_let_in_alone_and_a_larger_one_never() -> None:
    budget = Budget(100, wait_seconds=0.01)
    with await taken(budget, 100):
        assert budget.taken == 100
        with pytest.raises(AnswersFull, match="take 100 of the 100 bytes .* would need 1$"):
            await taken(budget, 1)
    assert budget.taken == 0
    with pytest.raises(AnswerTooLarge, match="would need 101 bytes of memory; .* has 100"):
        await taken(budget, 101)


async def test_who_waits_is_let_in_as_soon_as_there_is_room_in_the_order_of_coming() -> None:
    budget = Budget(100, wait_seconds=60)
    first = await taken(budget, 80)
    large = asyncio.create_task(taken(budget, 70))
    small = asyncio.create_task(taken(budget, 10))
    await asyncio.sleep(0.01)
    assert not large.done() and not small.done(), "a stream of small ones would starve a large one"
    give_back(first)
    rooms = await asyncio.gather(large, small)
    assert budget.taken == 80
    for room in rooms:
        give_back(room)
    assert budget.taken == 0


async def test_one_that_gives_up_waiting_holds_up_nobody_behind() -> None:
    budget = Budget(100, wait_seconds=60)
    first = await taken(budget, 80)
    large = asyncio.create_task(taken(budget, 70))
    await asyncio.sleep(0)
    small = asyncio.create_task(taken(budget, 10))
    await asyncio.sleep(0)
    large.cancel()
    give_back(await small)
    with pytest.raises(asyncio.CancelledError):
        await large
    assert budget.taken == 80
    give_back(first)


async def test_one_that_is_cancelled_just_when_it_is_let_in_leaves_nothing_behind() -> None:
    budget = Budget(100, wait_seconds=60)
    first = await taken(budget, 100)
    waiting = asyncio.create_task(taken(budget, 100))
    await asyncio.sleep(0.01)
    give_back(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.taken == 0


async def test_bytes_that_are_not_needed_any_more_let_others_in() -> None:
    budget = Budget(100, wait_seconds=0.01)
    with await taken(budget, 100) as room:
        room.shrink(30)
        room.shrink(60)  # it has no more to give
        with await taken(budget, 70):
            assert budget.taken == 100
    assert budget.taken == 0


async def test_room_can_grow_as_far_as_the_budget_goes() -> None:
    budget = Budget(100, wait_seconds=0.01)
    with await taken(budget, 10) as room, await taken(budget, 50):
        await room.grow(50)
        await room.grow(20)
        assert budget.taken == 100
        with pytest.raises(AnswersFull):
            await room.grow(60)
        with pytest.raises(AnswerTooLarge, match="need 101 bytes"):
            await room.grow(101)
    assert budget.taken == 0


async def test_a_client_has_half_of_the_budget_and_another_the_rest() -> None:
    budget = Budget(100, wait_seconds=0.01)
    with await taken(budget, 30, "greedy"), await taken(budget, 20, "greedy"):
        with pytest.raises(ClientHoldsTooMuch, match="your .* take 50 of the 50 .* would need 1$"):
            await taken(budget, 1, "greedy")
        with await taken(budget, 50, "other"):
            assert budget.taken == 100
    assert budget.taken == 0


async def test_a_client_without_other_answers_may_have_a_larger_one_than_its_share() -> None:
    budget = Budget(100, wait_seconds=0.01)
    with await taken(budget, 90, "a"):
        with pytest.raises(ClientHoldsTooMuch):
            await taken(budget, 1, "a")
        with await taken(budget, 10, "b"):
            pass
    with await taken(budget, 1, "a"), pytest.raises(ClientHoldsTooMuch):
        await taken(budget, 90, "a")
    with await taken(budget, 10, "a") as room:
        await room.grow(100)
        assert budget.taken == 100
    with await taken(budget, 1, "a"), await taken(budget, 10, "a") as room:
        with pytest.raises(ClientHoldsTooMuch):
            await room.grow(90)
    assert budget.taken == 0


async def test_a_client_that_waits_for_its_own_answers_holds_up_nobody() -> None:
    budget = Budget(100, wait_seconds=60)
    first = await taken(budget, 50, "a")
    own = [asyncio.create_task(taken(budget, 40, "a")) for _ in range(5)]
    await asyncio.sleep(0)
    give_back(await taken(budget, 50, "b"))
    give_back(first)
    give_back(await own[0])
    for task in own[1:]:
        give_back(await task)
    assert budget.taken == 0


async def test_a_call_that_goes_on_after_its_request_keeps_its_bytes_until_it_ends() -> None:
    budget, may_end = Budget(100), threading.Event()
    with ThreadPoolExecutor(1) as threads:

        async def request() -> None:
            with await taken(budget, 60) as room:
                await room.run(threads, may_end.wait)

        task = asyncio.create_task(request())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budget.taken == 60
        may_end.set()
        async with asyncio.timeout(10):
            while budget.taken:
                await asyncio.sleep(0.01)


async def test_the_time_to_come_again_is_that_of_the_answers_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, clock = Budget(100, wait_seconds=0.01), asyncio.get_running_loop()
    real, ahead = clock.time, 0.0
    monkeypatch.setattr(clock, "time", lambda: real() + ahead)
    assert budget.retry_after == 1
    room = await taken(budget, 100)
    ahead += 20  # its reader does not read
    with pytest.raises(AnswersFull) as error:
        await taken(budget, 1)
    assert 20 <= error.value.retry_after <= 22
    give_back(room)
    assert 4 <= budget.retry_after <= 6, "others may be faster"
