"""Storage that cannot be used: requests are answered as ever, jobs are refused with the reason."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.jobs import background, webhook
from app.jobs.background import Background
from app.jobs.errors import BadAddress, StorageUnavailable
from app.jobs.leases import Leases
from app.jobs.quotas import Quota
from app.jobs.store import Store
from app.jobs.tables import Job
from tests.app.jobs.fakes import FakePool, make_job, make_plan, make_settings
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
    command = [sys.executable, "-m", "app.cli", "serve", flag]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert flag.split("=")[0].strip("-").replace("-", "_") in ended.stderr


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is done now and then is done often."""
    for name in ("OPEN_SECONDS", "CLEAN_SECONDS", "CALL_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(background, name, 0.01)


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
    made = Background(make_settings(folder, **settings), pool.as_pool())
    async with made.running():
        await until(lambda: is_open(made))
        yield made


async def add(store: Store, webhook_url: str | None = None) -> Job:
    quota, job = Quota(10, 10**9), make_job(make_plan(), webhook_url)
    job.header = json.dumps(make_plan().header)
    return await store.create(job, None, seed=7, server=quota, client=quota)


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_the_lock_of_an_sqlite_database_is_free_when_its_holder_has_ended(
    tmp_path: Path, pool: FakePool
) -> None:
    other = Background(make_settings(tmp_path), pool.as_pool())
    async with opened(tmp_path, pool):
        async with other.running():
            await until(lambda: "another server uses" in reason(other))
    async with other.running():
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
async def test_a_webhook_is_called_until_it_is_heard(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([BadAddress("no such host"), httpx.ConnectError("refused"), None])
    calls: list[dict[str, Any]] = []

    async def call(url: str, body: bytes, *, secret: str, private: bool) -> None:
        assert (url, secret, private) == ("http://example.com", "a secret", False)
        calls.append(json.loads(body))
        error = next(answers)
        if error is not None:
            raise error

    monkeypatch.setattr(webhook, "call", call)
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", (0.0, 0.0, 60.0))
    async with opened(tmp_path, pool, webhook_secret="a secret") as running:
        job = await add(running.store, "http://example.com")
        running.wake()
        await until(lambda: len(calls) == 3)
        while (await running.store.get(job.id)).webhook_due is not None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    assert [told["status"] for told in calls] == ["finished"] * 3
