"""What can be asked of jobs, without HTTP and without an engine."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.generation.plan import Plan
from app.generation.schemas.status import JobStatus
from app.jobs import service
from app.jobs.errors import (
    BadWebhook,
    JobTooLarge,
    JobUnfinished,
    KeyReused,
    NoWebhooks,
    SampleLost,
    StorageFull,
    StorageUnavailable,
    UnknownJob,
)
from app.jobs.keys import Key
from app.jobs.representations import sample_zip
from app.jobs.result_store import ResultStore
from app.jobs.service import Jobs
from app.jobs.tables import Job
from app.pool.makers import maker
from tests.app.jobs.fakes import MODEL, FakePool, answer, make_plan, make_settings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(folder: Path, pool: FakePool, **settings: Any) -> AsyncIterator[Jobs]:
    """Jobs whose storage is open."""
    jobs = Jobs(make_settings(folder, **settings), pool.as_pool())
    async with jobs.running(print), asyncio.timeout(30):
        while True:
            try:
                await jobs.status("none")
            except StorageUnavailable:
                await asyncio.sleep(0.01)
            except UnknownJob:
                break
        yield jobs


async def submit(jobs: Jobs, plan: Plan, key: Key | None = None, url: str | None = None) -> str:
    return (await jobs.submit("me", "sample", plan, key, url)).id


async def finished(jobs: Jobs, job_id: str) -> JobStatus:
    while (status := await jobs.status(job_id)).status != "finished":
        await asyncio.sleep(0.01)
    return status


async def test_a_job_is_accepted_made_and_fetched(tmp_path: Path, pool: FakePool) -> None:
    plan = make_plan(n=20)
    async with running(tmp_path, pool, max_batch=4) as jobs:
        job_id = await submit(jobs, plan)
        status = await finished(jobs, job_id)
        assert (status.done, status.total, status.seed) == (20, 20, 7)
        stored = await jobs.result(job_id)
        body = sample_zip(stored)
        assert b"".join(body.blocks(0, body.size)) == answer(plan, "application/zip")


async def test_before_the_storage_is_open_the_reason_is_told(
    tmp_path: Path, pool: FakePool
) -> None:
    jobs = Jobs(make_settings(tmp_path), pool.as_pool())
    for attempt in (submit(jobs, make_plan()), jobs.status("any"), jobs.delete("any")):
        with pytest.raises(StorageUnavailable, match="the storage of jobs is being opened"):
            await attempt


async def test_what_can_never_be_kept_is_refused_even_before(
    tmp_path: Path, pool: FakePool
) -> None:
    jobs = Jobs(make_settings(tmp_path, jobs_client_bytes=1000), pool.as_pool())
    with pytest.raises(JobTooLarge, match="may take 2200 bytes; this server keeps 1000 for one"):
        await submit(jobs, make_plan(n=10))


async def test_a_webhook_needs_a_secret_and_a_public_address(
    tmp_path: Path, pool: FakePool
) -> None:
    url = "http://127.0.0.1:9/"
    jobs = Jobs(make_settings(tmp_path), pool.as_pool())
    with pytest.raises(NoWebhooks, match="no secret to sign them with"):
        await submit(jobs, make_plan(), url=url)
    jobs = Jobs(make_settings(tmp_path, webhook_secret="a secret"), pool.as_pool())
    with pytest.raises(BadWebhook, match=r'X-Webhook-URL: "http://127.* it is a private address'):
        await submit(jobs, make_plan(), url=url)


async def test_a_job_that_the_disk_has_no_room_for_is_refused(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, pool) as jobs:
        monkeypatch.setattr("app.jobs.result_store.ResultStore.free_bytes", lambda _: 100)
        with pytest.raises(StorageFull, match="may take 1100 bytes, the server's disk has 100"):
            await submit(jobs, make_plan(n=5))


async def test_a_key_gives_its_job_and_its_seed_again(tmp_path: Path, pool: FakePool) -> None:
    async with running(tmp_path, pool) as jobs:
        key = Key("me", "key", "fingerprint")
        first = await submit(jobs, make_plan(), key)
        assert await submit(jobs, make_plan(job_id="2" * 32), key) == first
        with pytest.raises(KeyReused):
            await submit(jobs, make_plan(), Key("me", "key", "other"))
        other, submits = Key("me", "other", "fingerprint"), []
        for seed in (5, 6):
            submits.append(replace(make_plan().submit, seed=seed))
        remembered = [await jobs.remember(other, submitted) for submitted in submits]
        assert remembered == [(5, maker(MODEL))] * 2


async def test_a_job_without_a_result_says_why(tmp_path: Path, pool: FakePool) -> None:
    async with running(tmp_path, pool) as jobs:
        pool.is_stuck = True
        job_id = await submit(jobs, make_plan())
        with pytest.raises(JobUnfinished, match="0 of 5 samples are made"):
            await jobs.result(job_id)
        pool.is_stuck, pool.failure = False, "not a number"
        failed = await submit(jobs, make_plan(job_id="2" * 32))
        while (await jobs.status(failed)).status != "failed":
            await asyncio.sleep(0.01)
        with pytest.raises(JobUnfinished, match="has no result, it failed: not a number"):
            await jobs.result(failed)


async def test_a_job_is_its_clients_own(tmp_path: Path, pool: FakePool) -> None:
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, make_plan())
        await jobs.check_owner(job_id, "me")
        for job, client in ((job_id, "another"), ("none", "me")):
            with pytest.raises(UnknownJob, match=f"there is no job '{job}'"):
                await jobs.check_owner(job, client)


async def test_a_deleted_job_is_gone_with_its_files(tmp_path: Path, pool: FakePool) -> None:
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, make_plan())
        await finished(jobs, job_id)
        folder = tmp_path / "results" / job_id
        assert folder.exists()
        await jobs.delete(job_id)
        with pytest.raises(UnknownJob):
            await jobs.status(job_id)
        while folder.exists():
            await asyncio.sleep(0.01)


async def test_a_disk_that_does_not_answer_is_waited_for_in_bounded_time(
    tmp_path: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    async with running(tmp_path, pool) as jobs:
        monkeypatch.setattr(service, "DISK_SECONDS", 0.1)
        monkeypatch.setattr(ResultStore, "free_bytes", lambda _: answers.wait(30) and None)
        with pytest.raises(StorageUnavailable, match="did not answer within 0.1 seconds"):
            await submit(jobs, make_plan())
        answers.set()


@pytest.mark.parametrize("field", ["plan", "header"])
async def test_a_damaged_row_is_told_and_can_be_deleted(
    tmp_path: Path, pool: FakePool, field: str
) -> None:
    async with running(tmp_path, pool) as jobs:
        damaged = await submit(jobs, make_plan())
        other = await submit(jobs, make_plan(job_id="2" * 32))
        for job_id in (damaged, other):
            await finished(jobs, job_id)
        async with jobs._background.store.database.writing() as session:
            change = update(Job).where(Job.id == damaged).values({field: "[]"})
            await session.execute(change)
        if field == "plan":
            with pytest.raises(JobUnfinished, match="its plan in the database cannot be read: "):
                await jobs.result(damaged)
        else:
            with pytest.raises(StorageUnavailable, match=f"row of job {damaged} .* is damaged"):
                await jobs.status(damaged)
        await jobs.result(other)
        await jobs.delete(damaged)
        with pytest.raises(UnknownJob):
            await jobs.status(damaged)


def lose_a_file(folder: Path, job_id: str, index: int) -> None:
    (folder / "results" / job_id / f"{index:06d}").unlink()


async def test_lost_samples_are_made_again_with_the_same_bytes(
    tmp_path: Path, pool: FakePool
) -> None:
    plan = make_plan(n=5)
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, plan)
        await finished(jobs, job_id)
        stored = await jobs.result(job_id)
        for index in (4, 6):
            lose_a_file(tmp_path, job_id, index)
        pool.asked.clear()
        with pytest.raises(SampleLost) as lost:
            stored.read(3)
        told = await jobs.repair(stored, lost.value)
        assert "2 of the 5 stored samples are lost (sample 3: its file is missing)" in str(told)
        await finished(jobs, job_id)
        assert pool.asked == [4, 6], "only these"
        body = sample_zip(await jobs.result(job_id))
        assert b"".join(body.blocks(0, body.size)) == answer(plan, "application/zip")


async def test_a_second_reader_of_a_lost_sample_is_told_how_far_the_job_is(
    tmp_path: Path, pool: FakePool
) -> None:
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, make_plan(n=5))
        await finished(jobs, job_id)
        stored, lost = await jobs.result(job_id), SampleLost(3, "its file is damaged")
        pool.is_stuck = True
        await jobs.repair(stored, lost)
        with pytest.raises(JobUnfinished, match="4 of 5 samples are made"):
            await jobs.repair(stored, lost)
        await jobs.delete(job_id)
        with pytest.raises(UnknownJob):
            await jobs.repair(stored, lost)


async def test_what_other_weights_made_cannot_be_made_again(tmp_path: Path, pool: FakePool) -> None:
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, make_plan(n=5))
        await finished(jobs, job_id)
        stored = await jobs.result(job_id)
        pool.models.default.version.known = replace(MODEL, sha256="1" * 64)
        reason = "it failed: 1 of the 5 .* no longer has the weights that made them"
        with pytest.raises(JobUnfinished, match=reason):
            await jobs.repair(stored, SampleLost(3, "its file is damaged"))
        status = await jobs.status(job_id)
        assert (status.status, status.done) == ("failed", 4)


async def test_before_the_engine_is_there_it_is_taken_for_the_same(
    tmp_path: Path, pool: FakePool
) -> None:
    async with running(tmp_path, pool) as jobs:
        job_id = await submit(jobs, make_plan(n=5))
        await finished(jobs, job_id)
        stored = await jobs.result(job_id)
        pool.lose_model()
        await jobs.repair(stored, SampleLost(3, "its file is damaged"))
        assert (await jobs.status(job_id)).status == "waiting"
        pool.find_model()
        await finished(jobs, job_id)
