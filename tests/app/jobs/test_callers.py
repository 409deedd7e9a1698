"""Calls of webhooks: whatever a receiver does, the others are called, and the jobs go on."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.jobs import callers, webhook
from app.jobs.callers import CALLS, SHARE, Callers
from app.jobs.errors import StorageUnavailable
from app.jobs.store import Store
from app.jobs.tables import Job
from app.pool.makers import maker
from app.tasks import end
from tests.app.jobs.fakes import MODEL, FakePool, make_job, make_plan, make_settings
from tests.app.jobs.rows import create

pytestmark = pytest.mark.anyio

Call = Callable[[str], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(callers, name, 0.01)


@contextlib.asynccontextmanager
async def calling(
    store: Store, folder: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch, call: Call
) -> AsyncIterator[None]:
    """Callers that run as long as the block lasts, and call `call`."""

    async def replaced(url: str, body: bytes, _: Executor, *, secret: str, private: bool) -> None:
        assert (json.loads(body)["status"], secret, private) == ("failed", "a secret", False)
        await call(url)

    monkeypatch.setattr(webhook, "call", replaced)
    settings = make_settings(folder, webhook_secret="a secret")
    running = asyncio.create_task(Callers(store, pool.as_pool(), settings).run())
    try:
        yield
        assert not running.done()
    finally:
        await end([running])


async def add(store: Store, number: int, url: str, client: str) -> Job:
    """A job that has failed, and whose webhook is due."""
    job = make_job(make_plan(job_id=f"{number:032}"), url)
    job.header = json.dumps(make_plan(job_id=job.id).header)
    job.client = client
    await create(store, job, max_jobs=100, budget=10**9)
    leased = await store.leases.claim("me", [maker(MODEL)], 60.0)
    assert leased is not None
    await store.leases.fail(leased, "no")
    return job


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("same", ["host", "client"])
async def test_a_slow_host_or_client_has_its_share_and_others_overtake(
    sqlite: Store, tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch, same: str
) -> None:
    for number in range(10):
        host = "slow.example" if same == "host" else f"slow-{number}.example"
        client = "slow" if same == "client" else f"slow-{number}"
        await add(sqlite, number, f"http://{host}/", client)
    await add(sqlite, 10, "http://quick.example/", "quick")
    called: list[str] = []

    async def call(url: str) -> None:
        called.append(url)
        if "slow" in url:
            await asyncio.Event().wait()

    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await until(lambda: "http://quick.example/" in called)
        await asyncio.sleep(0.1)
    assert len([url for url in called if "slow" in url]) == SHARE


@pytest.mark.parametrize(
    "error",
    [
        UnicodeError("label too long"),
        OverflowError("port must be 0-65535"),
        ExceptionGroup("connecting", [OSError("refused")]),
        httpx.ConnectError("refused"),
        TimeoutError("no answer"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_error_of_a_call_is_one_failed_call_that_is_made_again(
    sqlite: Store,
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(callers, "PAUSE_SECONDS", (0.5,))
    await add(sqlite, 1, "http://broken.example/", "broken")
    await add(sqlite, 2, "http://good.example/", "good")
    called: list[str] = []

    async def call(url: str) -> None:
        called.append(url)
        if "broken" in url:
            raise error

    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await until(lambda: len(called) == 3)
        await asyncio.sleep(0.05)
    assert sorted(called) == ["http://broken.example/"] * 2 + ["http://good.example/"]
    assert len([line for line in caplog.messages if "of its webhook failed" in line]) == 2
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["http://" + "a" * 64 + ".example/", "http://a..b/", "http://localhost:99999/", "http://["],
)
async def test_addresses_that_an_earlier_version_accepted_fail_alone(
    sqlite: Store, tmp_path: Path, pool: FakePool, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    job = await add(sqlite, 1, "http://later.example/", "me")
    async with sqlite.database.writing() as session:
        await session.execute(update(Job).values(webhook_url=url, webhook_host="whatever"))
    settings = make_settings(tmp_path, webhook_secret="a secret", webhook_private=True)
    running = asyncio.create_task(Callers(sqlite, pool.as_pool(), settings).run())
    await until(lambda: "of its webhook failed" in caplog.text)
    assert not running.done()
    await end([running])
    found = await sqlite.get(job.id)
    assert found.webhook_attempts == 1
    assert found.webhook_due is not None, "it is called again"


async def test_a_damaged_row_is_one_failed_call(
    sqlite: Store, tmp_path: Path, pool: FakePool, caplog: pytest.LogCaptureFixture
) -> None:
    await add(sqlite, 1, "http://a.example/", "me")
    async with sqlite.database.writing() as session:
        await session.execute(update(Job).values(header="{"))
    settings = make_settings(tmp_path, webhook_secret="a secret")
    running = asyncio.create_task(Callers(sqlite, pool.as_pool(), settings).run())
    await until(lambda: "is damaged, DELETE it" in caplog.text)
    assert not running.done()
    await end([running])


@pytest.mark.parametrize("error", [StorageUnavailable("no database"), RuntimeError("a bug")])
async def test_a_database_that_fails_is_asked_again(
    sqlite: Store,
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    await add(sqlite, 1, "http://a.example/", "me")
    called: list[str] = []
    due_webhook, failures = sqlite.due_webhook, 0

    async def fail(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise error

    async def call(url: str) -> None:
        called.append(url)

    monkeypatch.setattr(sqlite, "due_webhook", fail)
    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await until(lambda: failures > 3)
        monkeypatch.setattr(sqlite, "due_webhook", due_webhook)
        await until(lambda: called == ["http://a.example/"])
    if isinstance(error, StorageUnavailable):
        assert caplog.messages == [
            "no webhook can be called now: no database",
            "no webhook can be called now: that is over",
        ]


async def test_calls_that_find_no_database_are_one_line_in_the_log(
    sqlite: Store,
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The receivers have heard of the jobs, but that cannot be noted."""
    for number in range(CALLS):
        await add(sqlite, number, f"http://{number}.example/", f"{number}")
    called: list[str] = []
    away = False

    async def call(url: str) -> None:
        nonlocal away
        called.append(url)
        await until(lambda: len(called) == CALLS)
        away = True

    async def fail(*_: object) -> None:
        raise StorageUnavailable("no database")

    due_webhook = sqlite.due_webhook

    async def due(*args: Any) -> Job | None:
        return await (fail() if away else due_webhook(*args))

    monkeypatch.setattr(sqlite, "due_webhook", due)
    monkeypatch.setattr(sqlite, "called", fail)
    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await until(lambda: len(called) == CALLS)
        await asyncio.sleep(0.2)
    assert caplog.messages == ["no webhook can be called now: no database"]


async def test_what_is_logged_of_an_answer_has_no_secret_of_the_url(
    sqlite: Store,
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add(sqlite, 1, "http://a.example/?token=secret", "me")

    async def call(url: str) -> None:
        httpx.Response(404, request=httpx.Request("POST", url)).raise_for_status()

    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await until(lambda: "it was answered with 404" in caplog.text)
    assert "token" not in caplog.text


async def test_a_process_that_was_stopped_before_its_call_leaves_it_to_another(
    sqlite: Store, tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, called = await add(sqlite, 1, "http://there.example/hook", "me"), []
    clock, asked = sqlite.clock, asyncio.Event()

    async def stop() -> float:  # meanwhile another process has called
        await sqlite.called(made.id)
        asked.set()
        return await clock()

    async def call(url: str) -> None:
        called.append(url)

    monkeypatch.setattr(sqlite, "clock", stop)
    async with calling(sqlite, tmp_path, pool, monkeypatch, call):
        await asked.wait()
        await asyncio.sleep(0.1)
    assert called == []
