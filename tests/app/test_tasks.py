"""Tasks end, also those that lose a cancellation; and none ends unseen."""

import ast
import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

import app
from app.tasks import Fatal, Supervised, end, finish, together


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


Work = Callable[[], Coroutine[None, None, None]]
AWAITED = {
    ("tasks.py", "start"),  # Supervised
    ("tasks.py", "together"),
    ("tasks.py", "finish"),
    ("http/sse.py", "with_pauses"),
    ("jobs/background.py", "running"),
    ("jobs/callers.py", "_begin_call"),
    ("jobs/heartbeat.py", "heartbeat"),
    ("jobs/worker.py", "_take_turns"),
    ("routes/answers.py", "unless_gone"),
    ("routes/making.py", "__init__"),
    ("cluster/ingress.py", "drain"),
    ("cluster/link.py", "apart"),
}
"""Functions that make tasks: each one waits for their end itself, or has it watched."""


async def fails() -> None:
    raise ValueError("broken")


async def returns() -> None:
    pass


async def gives_up() -> None:
    raise Fatal("there is no such checkpoint")


async def is_cancelled() -> None:
    raise asyncio.CancelledError


def supervised(work: Work, *, may_return: bool = False) -> list[str]:
    """What is told of a task that does this."""
    told: list[str] = []

    async def run() -> None:
        tasks = Supervised(told.append)
        tasks.start("the work", work(), may_return=may_return)
        await asyncio.sleep(0.01)
        await tasks.stop()

    asyncio.run(run())
    return told


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (fails, "ValueError('broken')"),
        (returns, "it returned"),
        (is_cancelled, "CancelledError()"),
    ],
)
def test_a_supervised_task_that_ends_is_told_of_by_name_and_reason(
    work: Work, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert supervised(work) == [f"an error in the server: the work ended: {why}"]
    (line,) = caplog.records
    assert line.message == "the work: it ended, and with it ends the server"


def test_the_traceback_of_a_supervised_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    supervised(fails)
    assert "in fails" in caplog.text and "ValueError: broken" in caplog.text


def test_a_fatal_end_is_told_in_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    assert supervised(gives_up) == ["there is no such checkpoint"]
    assert caplog.records == [], "whoever is told says it"


def test_a_supervised_task_that_may_be_done_is_no_news() -> None:
    assert supervised(returns, may_return=True) == []
    assert len(supervised(fails, may_return=True)) == 1


def test_a_supervised_task_that_is_stopped_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    assert supervised(lambda: stubborn(1)) == []
    assert caplog.records == []


def test_an_error_of_a_task_that_is_stopped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def unwilling() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("broken")

    with caplog.at_level(logging.ERROR, "ddpm.server"):
        assert supervised(unwilling) == []
    assert "the work: an error while it was stopped" in caplog.text


def test_no_task_is_made_whose_end_nobody_sees() -> None:
    root, found = Path(app.__path__[0]), set()
    for path in root.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and makes_task(
                function
            ):
                found.add((str(path.relative_to(root)), function.name))
    assert found == AWAITED


def makes_task(function: ast.AST) -> bool:
    names = (
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    )
    return any(name in ("create_task", "ensure_future", "TaskGroup") for name in names)
