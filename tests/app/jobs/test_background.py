"""Storage that cannot be used: requests are answered as ever, jobs are refused with the reason."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.jobs import background, callers, webhook
from app.jobs.background import Background
from app.jobs.cleaning import Cleaning
from app.jobs.database import BUSY_SECONDS
from app.jobs.errors import BadAddress, StorageDamaged, StorageUnavailable
from app.jobs.leases import Leases
from app.jobs.quotas import Quota
from app.jobs.result_store import ResultStore
from app.jobs.store import Store
from app.jobs.tables import Job
from app.tasks import finish
from tests.app.jobs.fakes import FakePool, limits_of, make_job, make_plan, make_settings
from tests.app.server import Server

BODY = {"n": 1, "steps": 2}
ASYNC = {"Prefer": "respond-async"}
WAIT_SECONDS = 60


def submit(server: Server, **headers: str) -> httpx.Response:
    return server.client.post("/sample", json=BODY, headers={**ASYNC, **headers})


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_stops_jobs_only_and_only_while_it_lasts(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    flags = [f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-folder={tmp_path}/file/jobs"]
    with Server(tmp_path / "server.log", *flags) as server:
        answer = submit(server)
        assert f"{tmp_path}/file/jobs cannot be used" in problem(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1
        problem(server.client.get("/jobs/any"), 503)
        keyed = server.client.post("/sample", json=BODY, headers={"Idempotency-Key": "a"})
        problem(keyed, 503)
        assert server.post("/sample", BODY).status_code == 200
        (tmp_path / "file").unlink()
        deadline = time.monotonic() + WAIT_SECONDS
        while submit(server).status_code != 202:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.slow
def test_two_servers_do_not_share_an_sqlite_database(tiny: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={tiny}", "--runtime=eager"]
    with (
        Server(tmp_path / "one.log", *flags) as one,
        Server(tmp_path / "other.log", *flags) as other,
    ):
        assert submit(one).status_code == 202
        detail = problem(submit(other), 503)
        assert "another server uses" in detail and "DDPM_JOBS_FOLDER" in detail
        assert other.post("/sample", BODY).status_code == 200


@pytest.mark.slow
def test_another_process_that_holds_the_database_is_told_as_503_and_reads_go_on(
    tiny: Path, tmp_path: Path
) -> None:
    flags = [f"--checkpoint={tiny}", "--runtime=eager"]
    with Server(tmp_path / "server.log", *flags) as server:
        place = submit(server).headers["Location"]
        with closing(sqlite3.connect(tmp_path / "jobs" / "jobs.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = submit(server)
            # The second, where the work on jobs waits for the lock on the connection that writes
            told = "database is locked", "no connection was free"
            assert any(reason in problem(answer, 503) for reason in told)
            assert int(answer.headers["Retry-After"]) >= 1
            begun = time.monotonic()
            assert server.client.get(place).status_code == 200
            assert time.monotonic() - begun < BUSY_SECONDS, "it did not wait for the lock"
            problem(server.client.delete(place), 503)
            assert server.post("/sample", BODY).status_code == 200
        later, deadline = submit(server), time.monotonic() + WAIT_SECONDS
        assert later.status_code == 202
        while server.client.get(later.headers["Location"]).json()["status"] != "finished":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system of its own needs root, and a container that may mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_refuses_jobs_and_lets_the_running_ones_wait(
    tiny: Path, tmp_path: Path, small_disk: Path
) -> None:
    flags = [f"--checkpoint={tiny}", "--runtime=eager", f"--jobs-results={small_disk}"]
    with Server(tmp_path / "server.log", *flags) as server:
        large = server.client.post("/sample", json={"n": 50_000, "steps": 1}, headers=ASYNC)
        assert "the server's disk has" in problem(large, 507)
        accepted = server.client.post("/sample", json={"n": 200, "steps": 10}, headers=ASYNC)
        assert accepted.status_code == 202
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(2 << 20))
        place, deadline = accepted.headers["Location"], time.monotonic() + WAIT_SECONDS
        while "No space left" not in str(server.client.get(place).json()["detail"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert server.post("/sample", BODY).status_code == 200
        problem(submit(server), 507)
        filler.unlink()
        while server.client.get(place).json()["status"] != "finished":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "jobs stopped" not in server.log.read_text()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--jobs-url=mysql://host/name", "'mysql' is not sqlite or postgresql"),
        ("--jobs-results=s3x://bucket", "Protocol not known: s3x"),
        ("--max-job-samples=0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_ends_the_server_with_its_name(flag: str, message: str) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", flag]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert flag.split("=")[0].strip("-").replace("-", "_") in ended.stderr


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is done now and then is done often."""
    for name in ("OPEN_SECONDS", "CLEAN_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(background, name, 0.01)
    monkeypatch.setattr(callers, "LOOK_SECONDS", 0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def is_open(running: Background) -> bool:
    try:
        return bool(running.store)
    except StorageUnavailable:
        return False


def reason(running: Background) -> str:
    with pytest.raises(StorageUnavailable) as refused:
        _ = running.store
    return str(refused.value)


@asynccontextmanager
async def opened(folder: Path, pool: FakePool, **settings: Any) -> AsyncIterator[Background]:
    made = Background(make_settings(folder, **settings), pool.as_pool(), limits_of)
    async with made.running(print):
        await until(lambda: is_open(made))
        yield made


async def add(store: Store, webhook_url: str | None = None, job_id: str = "1" * 32) -> Job:
    plan = make_plan(job_id=job_id)
    quota, job = Quota(10, 10**9), make_job(plan, webhook_url)
    job.header = json.dumps(plan.header)
    return await store.create(job, None, seed=7, server=quota, client=quota)


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_the_lock_of_an_sqlite_database_is_free_when_its_holder_has_ended(
    tmp_path: Path, pool: FakePool
) -> None:
    other = Background(make_settings(tmp_path), pool.as_pool(), limits_of)
    async with opened(tmp_path, pool):
        async with other.running(print):
            await until(lambda: "another server uses" in reason(other))
    async with other.running(print):
        await until(lambda: is_open(other))


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_whatever_goes_wrong_the_storage_is_opened_again(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, pool) as running:
        with monkeypatch.context() as broken:
            broken.setattr(Leases, "claim", None)
            running.wake()
            await until(
                lambda: not is_open(running) and "an error in the server" in reason(running)
            )
        await until(lambda: is_open(running))


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_disk_that_does_not_answer_does_not_hold_up_the_end(
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "STOP_SECONDS", 0.5)
    answers, is_asked = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        is_asked.set()
        answers.wait(60)

    monkeypatch.setattr(ResultStore, "write", wait)
    try:
        async with opened(tmp_path, pool) as running:
            await add(running.store)
            running.wake()
            await until(is_asked.is_set)
            ending = time.monotonic()
        assert time.monotonic() - ending < 30
        # The database is on another disk here: nothing but the file is left undone
        assert "does not answer" not in caplog.text
        monkeypatch.setattr(ResultStore, "open", wait)
        is_asked.clear()
        async with Background(make_settings(tmp_path), pool.as_pool(), limits_of).running(print):
            await until(is_asked.is_set)
            ending = time.monotonic()
        assert time.monotonic() - ending < 30
    finally:
        answers.set()


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_database_that_does_not_answer_does_not_hold_up_the_end(
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "STOP_SECONDS", 0.5)
    answers, close, closed = asyncio.Event(), Store.close, asyncio.Event()

    async def wait(store: Store) -> None:
        async def in_the_end() -> None:
            await answers.wait()
            await close(store)
            closed.set()

        await finish(in_the_end())

    async with opened(tmp_path, pool):
        monkeypatch.setattr(Store, "close", wait)
        ending = time.monotonic()
    assert time.monotonic() - ending < 30
    assert "the storage of jobs does not answer: it is left as it is" in caplog.text
    answers.set()
    await closed.wait()


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_the_files_of_an_expired_job_are_removed(tmp_path: Path, pool: FakePool) -> None:
    folder = tmp_path / "results" / make_plan().submit.id
    async with opened(tmp_path, pool, jobs_expiry_seconds=1) as running:
        job = await add(running.store)
        running.wake()
        await until(folder.exists)
        await until(lambda: not folder.exists())
        assert (await running.store.get(job.id)).status == "expired"


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_folder_that_cannot_be_removed_does_not_keep_the_others(
    tmp_path: Path, pool: FakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.ready_engines = []  # the jobs have what the test gives them
    async with opened(tmp_path, pool) as running:
        kept_away, *others = [await add(running.store, job_id=digit * 32) for digit in "123"]
        folders = {job.id: tmp_path / "results" / job.id for job in (kept_away, *others)}
        for job_id in folders:
            running.results.write(job_id, 0, b"an image")
        remove = running.results.remove

        def fail(job_id: str) -> None:
            if job_id == kept_away.id:
                raise StorageUnavailable("the result store cannot be used: a bad disk")
            remove(job_id)

        running.results.remove = fail  # type: ignore[method-assign]
        for job_id in folders:
            await running.store.delete(job_id)
        await running.cancel(kept_away.id)
        await until(lambda: not any(folders[job.id].exists() for job in others))
        await asyncio.sleep(0.1)  # it is tried again
        assert folders[kept_away.id].exists()
        lines = [line for line in caplog.messages if "are still there" in line]
        assert len(lines) == 1 and "a bad disk" in lines[0]
        running.results.remove = remove  # type: ignore[method-assign]
        await until(lambda: not folders[kept_away.id].exists())
        while await running.store.cleaning.to_purge():
            await asyncio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [StorageUnavailable("no database"), RuntimeError("a bug")])
async def test_a_clean_up_that_fails_stops_nothing_else_and_is_tried_again(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failures: list[Exception] = []

    async def fail(*_: object) -> bool:
        failures.append(error)
        raise error

    async with opened(tmp_path, pool) as running:
        store = running.store
        with monkeypatch.context() as broken:
            broken.setattr(Cleaning, "expire", fail)
            await until(lambda: len(failures) > 2)
            job = await add(store)
            running.wake()
            while (await store.get(job.id)).status != "finished":
                await asyncio.sleep(0.01)
        assert running.store is store, "it was not opened again"


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_clock_that_jumps_ahead_expires_nothing_that_is_then_lost(
    tmp_path: Path,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Store.clock

    async def wrong(store: Store) -> float:
        return await clock(store) + 1e8

    asked: list[float] = []

    async def expire(_: Cleaning, seconds: float, _keys: float) -> bool:
        asked.append(seconds)
        return False

    monkeypatch.setattr(Cleaning, "expire", expire)
    async with opened(tmp_path, pool):
        await until(lambda: bool(asked))
        monkeypatch.setattr(Store, "clock", wrong)
        await until(lambda: "clock was set by +100000000 seconds" in caplog.text)
        asked.clear()
        await asyncio.sleep(0.1)
        assert asked == []


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_damaged_database_says_what_to_do_and_keeps_its_results(
    tmp_path: Path, pool: FakePool
) -> None:
    database, aside = tmp_path / "jobs.sqlite", tmp_path / "aside"
    results = tmp_path / "results"
    async with opened(tmp_path, pool) as running:
        job = await add(running.store)
        running.wake()
        while (await running.store.get(job.id)).status != "finished":
            await asyncio.sleep(0.01)
    images = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert len(images) == job.total
    content = database.read_bytes()
    database.write_bytes(content[: len(content) // 2])
    running = Background(make_settings(tmp_path), pool.as_pool(), limits_of)
    async with running.running(print):
        await until(lambda: "is damaged: " in reason(running))
        assert f"{database} is damaged" in reason(running)
        assert "Move it away" in reason(running) and str(results) in reason(running)
        aside.mkdir()
        for path in tmp_path.glob("jobs.sqlite*"):
            if not path.name.endswith(".lock"):
                path.rename(aside / path.name)
        await until(lambda: is_open(running))
        await asyncio.sleep(0.1)  # some clean-ups
    assert {path: path.read_bytes() for path in images} == images
    (aside / "jobs.sqlite").write_bytes(content)  # a copy
    for path in tmp_path.glob("jobs.sqlite*"):
        path.unlink()
    (aside / "jobs.sqlite").rename(database)
    async with opened(tmp_path, pool) as running:
        assert (await running.store.get(job.id)).status == "finished"


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("place", [(Leases, "claim"), (Leases, "record"), (Cleaning, "expire")])
async def test_a_database_that_is_damaged_while_it_is_used_is_used_no_more(
    place: tuple[type, str], tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StorageDamaged("the job database is damaged: database disk image is malformed")

    async with opened(tmp_path, pool) as running:
        with monkeypatch.context() as broken:
            broken.setattr(*place, fail)
            await add(running.store)
            running.wake()
            await until(lambda: not is_open(running) and "is damaged" in reason(running))
        await until(lambda: is_open(running))


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_webhook_is_called_until_it_is_heard(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([BadAddress("no such host"), httpx.ConnectError("refused"), None])
    calls: list[dict[str, Any]] = []

    async def call(url: str, body: bytes, _: Executor, *, secret: str, private: bool) -> None:
        assert (url, secret, private) == ("http://example.com", "a secret", False)
        calls.append(json.loads(body))
        error = next(answers)
        if error is not None:
            raise error

    monkeypatch.setattr(webhook, "call", call)
    monkeypatch.setattr(callers, "PAUSE_SECONDS", (0.3, 0.3, 60.0))
    async with opened(tmp_path, pool, webhook_secret="a secret") as running:
        job = await add(running.store, "http://example.com")
        running.wake()
        await until(lambda: len(calls) == 3)
        while (await running.store.get(job.id)).webhook_due is not None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    assert [told["status"] for told in calls] == ["finished"] * 3
