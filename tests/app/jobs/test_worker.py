"""Turns: a chunk of samples each, and what becomes of the job when one ends otherwise."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from app.generation.formats import ARRAYS, IMAGES
from app.jobs import chunk, endings, worker
from app.jobs.database import BUSY_SECONDS
from app.jobs.errors import StorageFull, StorageUnavailable
from app.jobs.leases import Kept
from app.jobs.quotas import Quota
from app.jobs.result_store import ResultStore, decode_image, encode_trajectory
from app.jobs.store import Store
from app.jobs.tables import Job
from app.jobs.worker import CHUNK_BATCHES, Terms, Worker
from app.pool.admission import Bounds
from app.pool.errors import Overloaded
from app.pool.makers import maker
from app.pool.version import Source
from app.settings import Settings
from app.tasks import AGAIN_SECONDS, end
from tests.app.jobs.fakes import KEY, MODEL, STEPS, FakePool, make_job, make_plan, state, whole
from tests.full_disk import no_room_for_more_than

pytestmark = pytest.mark.anyio

TERMS = Terms("me", chunk=3, lease_seconds=60.0, expiry_seconds=3600.0, idle_seconds=0.01)
LIMITS = Settings()
PLENTY = Quota(jobs=100, size=10**9)
OTHER_WEIGHTS = dataclasses.replace(MODEL, sha256="1" * 64)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFUSED_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(worker, name, 0.01)
    monkeypatch.setattr(endings, "RETRY_SECONDS", 0.01)
    short = {kind: found._replace(pause=0.01) for kind, found in endings.ENDINGS.items()}
    monkeypatch.setattr(endings, "ENDINGS", short)


@asynccontextmanager
async def working(
    store: Store,
    results: ResultStore,
    pool: FakePool,
    terms: Terms = TERMS,
    limits: Settings = LIMITS,
) -> AsyncIterator[Worker]:
    """A worker that runs as long as the block lasts; `limits` are those of the client `me`."""
    with ThreadPoolExecutor(2) as threads:
        made = Worker(
            store.leases, results, pool.as_pool(), threads, terms, {"me": limits}.__getitem__
        )
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            await end([task])


async def add(store: Store, job: Job) -> Job:
    return await store.create(job, None, seed=7, server=PLENTY, client=PLENTY)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.005)


async def until_status(store: Store, job: Job, status: str) -> Job:
    async def holds() -> bool:
        return (await store.get(job.id)).status == status

    await until(holds)
    return await store.get(job.id)


async def until_done(store: Store, job: Job, done: int) -> None:
    async def holds() -> bool:
        return (await store.get(job.id)).done >= done

    await until(holds)


def results_of(folder: Path) -> list[Path]:
    """The files of all samples."""
    return [path for path in (folder / "results").rglob("*") if path.is_file()]


async def until_detail(store: Store, job: Job, detail: str) -> None:
    async def holds() -> bool:
        return detail in str((await store.get(job.id)).detail)

    await until(holds)


async def test_a_job_is_made_in_chunks_and_every_image_is_kept(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    plan = make_plan(n=7)
    job = await add(sqlite, make_job(plan))
    async with working(sqlite, results, pool):
        found = await until_status(sqlite, job, "finished")
    assert (found.done, pool.asked) == (7, list(plan.submit.indices))
    expected = whole(plan, IMAGES).x_0
    for number, index in enumerate(plan.submit.indices):
        assert (decode_image(results.read(job.id, index) or b"") == expected[number]).all()


async def test_a_chunk_has_some_batches_of_the_engine_unless_its_size_is_given(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    plan = make_plan(n=40)
    job = await add(sqlite, make_job(plan))
    terms = dataclasses.replace(TERMS, chunk=None)
    async with working(sqlite, results, pool, terms):
        await until_status(sqlite, job, "finished")
    assert max(pool.chunks) == CHUNK_BATCHES * MODEL.batch_sizes[-1]


async def test_frames_are_kept_in_order_and_the_last_one_is_the_result(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    plan = make_plan(n=2, shown=(0, 2, STEPS))
    job = await add(sqlite, make_job(plan))
    async with working(sqlite, results, pool):
        await until_status(sqlite, job, "finished")
    made = whole(plan, ARRAYS)
    for number, index in enumerate(plan.submit.indices):
        pairs = zip(made.x_t[number], made.x_0_hat[number], strict=True)
        frames = {
            p: (a.tobytes(), b.tobytes())
            for p, (a, b) in zip(plan.submit.shown, pairs, strict=True)
        }
        assert frames[STEPS] == (state(7, index, STEPS),) * 2
        assert results.read(job.id, index) == encode_trajectory(plan, frames)[0]


async def test_two_jobs_have_their_turns_at_once(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.is_stuck = True
    for number in "123":
        await add(sqlite, make_job(make_plan(n=4, job_id=number * 32)))

    async def holds() -> bool:
        return len(pool.asked) >= 6

    async with working(sqlite, results, pool):
        await until(holds)
        await asyncio.sleep(0.05)
        assert len(pool.asked) == 6, "two chunks of three"


async def test_a_chunk_leaves_half_of_the_queue_to_others(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    limits = Settings(max_client_steps=8 * STEPS)
    pool.is_stuck = True
    await add(sqlite, make_job(make_plan(n=9)))

    async def holds() -> bool:
        return bool(pool.asked)

    async with working(sqlite, results, pool, limits=limits):
        await until(holds)
    assert len(pool.asked) == 2, "of room for 8, a quarter for each of two jobs"


async def test_a_job_is_cut_and_admitted_by_the_limits_of_its_own_client(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    own = Settings(max_client_steps=3 * STEPS, max_client_samples=7)
    job = await add(sqlite, make_job(make_plan(n=2)))
    async with working(sqlite, results, pool, limits=own):
        await until_status(sqlite, job, "finished")
    assert (pool.chunks, pool.bounds) == ([1, 1], [Bounds(7, 3 * STEPS)] * 2)


async def test_what_the_engine_cannot_make_fails(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.failure = "sample 3 is not a number"
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        assert (await until_status(sqlite, job, "failed")).detail == "sample 3 is not a number"


async def test_a_full_queue_makes_a_job_wait_and_says_so(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.refusal = Overloaded("the queue has no room")
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        await until_detail(sqlite, job, "waits for the engine: the queue has no room")
        pool.refusal = None
        await until_status(sqlite, job, "finished")


@pytest.mark.parametrize("error", [StorageUnavailable("no disk"), StorageFull("a full disk")])
async def test_storage_that_fails_makes_a_job_wait_and_says_so(
    sqlite: Store,
    results: ResultStore,
    pool: FakePool,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        with monkeypatch.context() as broken:
            broken.setattr(results, "write", fail)
            await until_detail(sqlite, job, str(error))
        await until_status(sqlite, job, "finished")


async def test_an_error_of_the_servers_own_fails_the_job_with_the_reason(
    sqlite: Store, results: ResultStore, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk, "encode_image", None)
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        found = await until_status(sqlite, job, "failed")
    assert str(found.detail).startswith("an error in the server: TypeError(")


async def test_a_plan_that_cannot_be_read_fails_its_job_alone_with_the_reason(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    damaged, whole_one = (make_job(make_plan(job_id=digit * 32)) for digit in "12")
    damaged.plan = "{}"
    for job in (damaged, whole_one):
        await add(sqlite, job)
    async with working(sqlite, results, pool):
        await until_status(sqlite, whole_one, "finished")
        found = await until_status(sqlite, damaged, "failed")
    detail = str(found.detail)
    assert detail.startswith("its plan in the database cannot be read: ")
    assert detail.endswith("validation errors for Plan")


async def test_an_error_in_the_end_of_a_turn_does_not_end_the_turns_of_others(
    sqlite: Store,
    results: ResultStore,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, other = (make_job(make_plan(job_id=digit * 32)) for digit in "12")
    broken.plan = "{}"
    for job in (broken, other):
        await add(sqlite, job)

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sqlite.leases, "fail", fail)
    async with working(sqlite, results, pool):
        await until_status(sqlite, other, "finished")
    assert "a job waits until its lease runs out" in caplog.text


async def test_a_server_that_stops_gives_its_jobs_back(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.is_stuck = True
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        await until(pool.is_asked)
    assert (await sqlite.get(job.id)).lease_until is None
    assert await sqlite.leases.claim("other", [maker(MODEL)], 60.0) is not None


async def test_a_job_is_given_back_however_slow_the_database_is(
    sqlite: Store, results: ResultStore, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = sqlite.leases.release

    async def slow(job: Job, detail: str | None) -> None:
        await asyncio.sleep(2.5 * AGAIN_SECONDS)  # meanwhile the turn is cancelled twice more
        await release(job, detail)

    monkeypatch.setattr(sqlite.leases, "release", slow)
    pool.is_stuck = True
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        await until(pool.is_asked)
    assert (await sqlite.get(job.id)).lease_until is None


async def test_what_a_paused_process_writes_of_a_job_that_is_forgotten_is_removed(
    sqlite: Store,
    results: ResultStore,
    pool: FakePool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add(sqlite, make_job(make_plan()))
    record, is_back = sqlite.leases.record, asyncio.Event()

    async def too_late(turn: Job, kept: Sequence[Kept]) -> None:
        await sqlite.delete(turn.id)
        await sqlite.cleaning.purge(turn.id)
        assert results_of(tmp_path)
        is_back.set()
        await record(turn, kept)

    async def is_clean() -> bool:
        return is_back.is_set() and not results_of(tmp_path)

    monkeypatch.setattr(sqlite.leases, "record", too_late)
    async with working(sqlite, results, pool):
        await until(is_clean)


async def test_the_files_of_a_job_that_is_deleted_in_its_turn_can_be_removed(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.is_stuck = True
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool) as running:
        await until(pool.is_asked)
        await sqlite.delete(job.id)
        await running.cancel(job.id)
        assert await sqlite.cleaning.to_purge() == [job.id]


async def test_a_lost_lease_ends_the_turn_although_the_engine_is_busy(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.is_stuck = True
    job = await add(sqlite, make_job(make_plan()))
    short = dataclasses.replace(TERMS, lease_seconds=0.03)
    async with working(sqlite, results, pool, short):
        await until_status(sqlite, job, "running")
        await sqlite.delete(job.id)

        async def holds() -> bool:
            return await sqlite.cleaning.to_purge() == [job.id]

        await until(holds)


async def test_a_heartbeat_keeps_the_lease_of_a_long_turn(
    sqlite: Store, results: ResultStore, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.is_stuck = True
    job = await add(sqlite, make_job(make_plan()))
    beats: list[str] = []
    extend = sqlite.leases.extend

    async def counted(leased: Job, seconds: float) -> None:
        await extend(leased, seconds)
        beats.append(leased.id)

    monkeypatch.setattr(sqlite.leases, "extend", counted)

    async def holds() -> bool:
        return len(beats) > 1

    async with working(sqlite, results, pool, dataclasses.replace(TERMS, lease_seconds=1.5)):
        await until(holds)
        assert await sqlite.leases.claim("other", [maker(MODEL)], 60.0) is None
    assert pool.asked == [3, 4, 5], "and it is one turn"
    assert set(beats) == {job.id}


async def test_no_job_is_claimed_without_an_engine(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    pool.ready_engines = []
    job = await add(sqlite, make_job(make_plan()))
    async with working(sqlite, results, pool):
        await asyncio.sleep(0.05)
        assert (await sqlite.get(job.id)).status == "waiting"
        pool.ready_engines = ["an engine"]
        await until_status(sqlite, job, "finished")


async def test_a_job_goes_on_with_the_version_that_it_was_begun_with(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    job = await add(sqlite, make_job(make_plan(n=5)))
    pool.models.note_jobs({KEY})
    pool.engine.infos["fake"] = OTHER_WEIGHTS
    pool.models.replace(Source("fake", "other"))
    newer = make_job(make_plan(n=2, job_id="2" * 32))
    newer.made_by = maker(OTHER_WEIGHTS)
    await add(sqlite, newer)
    async with working(sqlite, results, pool):
        await until_status(sqlite, job, "finished")
        await until_status(sqlite, newer, "finished")
        assert dict(zip(pool.made_with, pool.chunks, strict=True)) == {KEY: 2, "fake#2": 2}
        await until(lambda: is_true(not pool.engine.serves(KEY)))  # as nobody needs it any more


async def test_a_job_whose_weights_are_gone_fails_and_says_so(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    job = await add(sqlite, make_job(make_plan(n=5)))
    old = pool.models.default.version
    pool.engine.infos["fake"] = OTHER_WEIGHTS
    pool.models.replace(Source("fake", "other"))
    pool.engine.is_slow = True
    async with working(sqlite, results, pool):
        await until(lambda: is_true(KEY in pool.engine.loads.wanted))
        assert (await sqlite.get(job.id)).status == "waiting"
        pool.engine.reject(KEY, "the weights have changed", has_changed=True)
        found = await until_status(sqlite, job, "failed")
    assert old.is_lost
    assert found.detail == (
        "the weights that it was begun with are no longer served: the weights have changed"
    )
    assert pool.asked == []


async def test_a_job_of_an_older_server_is_found_by_its_models_name_and_weights(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    job = make_job(make_plan())
    job.made_by = f"fake {MODEL.sha256} eager float32 cpu"
    await add(sqlite, job)
    async with working(sqlite, results, pool):
        await until_status(sqlite, job, "finished")


async def test_a_job_that_another_kind_of_machine_began_waits_for_that_one(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    job = make_job(make_plan())
    job.made_by = maker(dataclasses.replace(MODEL, machine="another"))
    await add(sqlite, job)
    mine = await add(sqlite, make_job(make_plan(job_id="2" * 32)))
    async with working(sqlite, results, pool):
        await until_status(sqlite, mine, "finished")
        found = await sqlite.get(job.id)
        assert (found.status, found.done) == ("waiting", 0)
        pool.engine.finish(KEY, machine="another")
        await until_status(sqlite, job, "finished")
    assert pool.made_by == [mine.made_by, mine.made_by, job.made_by, job.made_by]


async def is_true(found: bool) -> bool:
    return found


async def test_a_thousand_jobs_of_one_client_do_not_hold_up_anothers(
    sqlite: Store, results: ResultStore, pool: FakePool
) -> None:
    many = [make_job(make_plan(n=1, job_id=f"{number:032}")) for number in range(1000)]
    for job in many:
        job.turn_at = 0.0
    async with sqlite.database.writing() as session:
        session.add_all(many)
    other = make_job(make_plan(n=1, job_id="f" * 32))
    other.client = "other"
    await sqlite.create(other, None, seed=7, server=Quota(2000, 10**9), client=Quota(2000, 10**9))
    async with working(sqlite, results, pool):
        await until_status(sqlite, other, "finished")
    assert len(pool.asked) < 20, "it was not the last"


async def test_a_job_whose_disk_is_full_half_way_waits_and_loses_nothing(
    sqlite: Store, results: ResultStore, pool: FakePool, tmp_path: Path
) -> None:
    """Neither its files nor the database can grow."""
    plan = make_plan(n=6, shown=(0, 1, 2, 3, STEPS))
    job = await add(sqlite, make_job(plan))
    # Where not even the note that it waits can be written, it waits until its lease runs out.
    one_chunk = dataclasses.replace(TERMS, chunk=2, lease_seconds=1.0, idle_seconds=0.05)
    async with working(sqlite, results, pool, one_chunk):
        await until_done(sqlite, job, 2)
        largest = max(path.stat().st_size for path in results_of(tmp_path))
        with no_room_for_more_than(largest // 2):
            await asyncio.sleep(0.5)
            assert (await sqlite.get(job.id)).status == "running"
        await until_status(sqlite, job, "finished")
    assert len(results_of(tmp_path)) == 6
    assert not list(tmp_path.rglob(".0*")), "no part of a file is left"


@pytest.mark.slow
async def test_while_another_process_holds_the_database_jobs_wait_and_then_go_on(
    sqlite: Store, results: ResultStore, pool: FakePool, tmp_path: Path
) -> None:
    first, second = (make_job(make_plan(n=9, job_id=digit * 32)) for digit in "12")
    short = dataclasses.replace(TERMS, lease_seconds=1.0)
    await add(sqlite, first)
    connect = partial(sqlite3.connect, isolation_level=None, check_same_thread=False)
    with closing(connect(tmp_path / "jobs.sqlite")) as other:
        async with working(sqlite, results, pool, short):
            await until_done(sqlite, first, 1)
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")  # turns go on meanwhile
            await asyncio.sleep(BUSY_SECONDS + 2)
            assert (await sqlite.get(first.id)).status in ("waiting", "running", "finished")
            other.execute("ROLLBACK")
            await add(sqlite, second)
            for job in (first, second):
                found = await until_status(sqlite, job, "finished")
                assert found.done == 9
