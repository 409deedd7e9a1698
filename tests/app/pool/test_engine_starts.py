"""Which engine processes that cannot start, or cannot be understood, are started again."""

import asyncio
import errno
import sys
from pathlib import Path

import pytest

from app.pool import child
from app.pool.child import Child
from app.wire.codec import HEADER, MAX_BYTES
from app.wire.messages import Message, Starting, Submit, Unusable
from tests.app.pool.engine_processes import (
    KEY,
    LOADED,
    WAIT_SECONDS,
    fake,
    heard,
    job,
    kill,
    pictures,
    read,
    script,
    started,
    submitted,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("impatient")]


async def test_what_cannot_start_the_first_time_gives_up_with_its_reason(tmp_path: Path) -> None:
    command = script(tmp_path, Unusable(KEY, "there is no such checkpoint"))
    async with started(command) as (engine, told):
        await until(lambda: told.unusable)
        assert told.unusable == ["there is no such checkpoint"]
        assert (engine.status, engine.restarts, told.loaded) == ("unusable", 0, [])


async def test_what_dies_at_its_first_start_gives_up_too() -> None:
    async with started([sys.executable, "-c", ""]) as (engine, told):
        await until(lambda: told.unusable)
        assert told.unusable == ["the engine died while it was starting"]
        assert (engine.status, engine.restarts) == ("unusable", 0)


async def test_what_the_system_cannot_start_the_first_time_gives_up_with_its_reason() -> None:
    async with started(["/no/such/program"]) as (engine, told):
        await until(lambda: told.unusable)
        (reason,) = told.unusable
        assert reason.startswith("no engine process can be started: [Errno 2]")
        assert (engine.status, engine.restarts) == ("unusable", 0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),  # no process is left
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
        RuntimeError("can't start new thread"),
    ],
    ids=repr,
)
async def test_a_start_that_the_system_refuses_is_logged_and_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(fake()) as (engine, told):
        await until(lambda: engine.is_ready)
        inflight = submitted(engine, job("a", n=2, steps=50))
        tries = 0

        async def refused(*_: object) -> Child:
            nonlocal tries
            tries += 1
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(child, "start", refused)
            kill(engine)
            await until(lambda: tries >= 3)
            assert (engine.state, engine.restarts, told.unusable) == ("restarting", 1, [])
        assert len(pictures(await read(inflight))) == 2, "what was in flight is done by the next"
        assert (engine.restarts, len(told.loaded)) == (1, 2)
    said = [line.message for line in caplog.records if "can be started" in line.message]
    assert said[0] == (
        f"no engine process can be started: {str(error) or 'MemoryError()'}; it is tried again"
    )


def say_then(folder: Path, garbage: bytes, *messages: Message) -> None:
    """Have engines of `script` that start from now on say the messages, and then garbage."""
    script(folder, *messages)
    with (folder / "first").open("ab") as first:
        first.write(garbage)


WORDS = b"not msgpack"


@pytest.mark.parametrize("was_ready", [False, True])
async def test_engines_that_speak_otherwise_than_their_server_end_it(
    tmp_path: Path, was_ready: bool
) -> None:
    """At once where none was ever ready, else at the third start in a row."""
    command = script(tmp_path, LOADED)
    garbage = HEADER.pack(len(WORDS)) + WORDS
    if not was_ready:
        say_then(tmp_path, garbage)
    async with started(command) as (engine, told):
        if was_ready:
            await until(lambda: engine.is_ready)
            say_then(tmp_path, garbage, Starting(KEY, "loading"))
            kill(engine)
        await until(lambda: told.unusable)
        (reason,) = told.unusable
        assert "sent what this server cannot read" in reason
        assert reason.endswith("was the software replaced while it ran? Restart the server")
        assert (engine.status, engine.restarts) == ("unusable", 3 if was_ready else 0)


@pytest.mark.parametrize(
    "garbage",
    [HEADER.pack(len(WORDS)) + WORDS, b"\xff" * 1000, HEADER.pack(MAX_BYTES + 1)],
    ids=["no message", "noise", "too long"],
)
async def test_an_engine_that_sends_garbage_is_killed_and_the_next_does_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    command = script(tmp_path, LOADED)
    say_then(tmp_path, garbage, LOADED)
    async with started(command) as (engine, told):
        await until(lambda: engine.pid)
        first = engine.pid
        submitted(engine, job("a", n=1, steps=1))
        await until(lambda: "sent what this server cannot read" in caplog.text)
        script(tmp_path, LOADED)
        await until(lambda: engine.is_ready and engine.pid != first)
        await until(lambda: any(isinstance(said, Submit) for said in heard(tmp_path)))
        assert told.unusable == []
        assert engine.backlog == 1
    assert not Path(f"/proc/{first}").exists()
    assert f"engine {first} died with" in caplog.text


async def test_an_engine_that_is_killed_at_its_first_start_has_two_more_tries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the memory is short at this moment."""
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, told):
        for restarts in (1, 2):
            await until(lambda: engine.starting)
            kill(engine)
            async with asyncio.timeout(WAIT_SECONDS):
                while engine.restarts < restarts:
                    await asyncio.sleep(0.005)
        await until(lambda: engine.starting)
        kill(engine)
        await until(lambda: told.unusable)
        assert told.unusable == [
            "the engine was killed 3 times while it was starting: is there enough memory?"
        ]
    said = "was killed while it was starting; it is tried again"
    assert len([line for line in caplog.messages if said in line]) == 2


async def test_an_engine_that_was_killed_at_its_first_start_gets_ready_at_the_next(
    tmp_path: Path,
) -> None:
    async with started(script(tmp_path, Starting(KEY, "loading"))) as (engine, told):
        await until(lambda: engine.starting)
        script(tmp_path, LOADED)
        kill(engine)
        await until(lambda: engine.is_ready)
        assert (told.unusable, len(told.loaded), engine.restarts) == ([], 1, 1)
