"""The job database, on SQLite and PostgreSQL: budgets, keys, expiry, webhooks."""

import asyncio

import pytest
from sqlalchemy import update

from app.jobs.database import parse_url
from app.jobs.errors import (
    KeyOutdated,
    KeyReused,
    LostLease,
    StorageFull,
    TooManyJobs,
    TooManyOwnJobs,
    UnknownJob,
)
from app.jobs.keys import Key
from app.jobs.store import Quota, Store
from app.jobs.tables import Job
from tests.app.jobs.rows import LEASE, WEEK, claimed, create, job, kept

pytestmark = pytest.mark.anyio


async def set_job(store: Store, job_id: str, **values: object) -> None:
    async with store.database.writing() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(**values))


async def test_a_job_is_found_again_by_a_store_that_is_opened_later(
    store: Store, database: str
) -> None:
    made = await create(store, job())
    other = Store(parse_url(database))
    await other.open()
    found = await other.get(made.id)
    assert (found.status, found.total, found.done) == ("waiting", 4, 0)
    assert abs(found.created_at - await other.clock()) < 60
    assert found.expires_at == found.created_at + WEEK
    await other.close()


async def test_an_unknown_job_is_named(store: Store) -> None:
    for attempt in (store.get("nothing"), store.delete("nothing")):
        with pytest.raises(UnknownJob, match="there is no job 'nothing'"):
            await attempt


async def test_a_deleted_job_is_forgotten_at_once_and_its_files_when_its_turn_is_over(
    store: Store,
) -> None:
    made = await create(store, job())
    turn = await claimed(store)
    await store.leases.record(turn, kept(0))
    await store.delete(made.id)
    with pytest.raises(UnknownJob):
        await store.get(made.id)
    with pytest.raises(LostLease):
        await store.leases.record(turn, kept(1))
    assert await store.to_purge() == [], "its old owner may still be writing"
    await store.leases.leave(turn)
    assert await store.to_purge() == [made.id]
    await store.purge(made.id)
    assert await store.to_purge() == []
    with pytest.raises(UnknownJob):
        await store.delete(made.id)


async def test_jobs_over_the_budget_are_refused_until_others_are_gone(store: Store) -> None:
    first = await create(store, job(stored_bytes=600), budget=1000)
    with pytest.raises(
        StorageFull, match=r"may take 500 bytes; of the 1000 .* 400 are left.*DELETE"
    ):
        await create(store, job(stored_bytes=500), budget=1000)
    await store.delete(first.id)
    await store.purge(first.id)
    await create(store, job(stored_bytes=500), budget=1000)


async def test_the_number_of_unfinished_jobs_is_bounded(store: Store) -> None:
    await create(store, job(total=1), max_jobs=1)
    with pytest.raises(TooManyJobs, match="1 jobs are unfinished; this server keeps 1"):
        await create(store, job(), max_jobs=1)
    turn = await claimed(store)
    await store.leases.record(turn, kept(0))
    await store.leases.end_turn(turn, 1, 1.0, WEEK)
    await create(store, job(), max_jobs=1)


async def test_one_client_has_its_own_part_of_both(store: Store) -> None:
    own = Quota(jobs=2, size=1000)
    await create(store, job(client="a", stored_bytes=600), own=own)
    with pytest.raises(StorageFull, match="of the 1000 that of one client .* 400 are left"):
        await create(store, job(client="a", stored_bytes=500), own=own)
    await create(store, job(client="a"), own=own)
    with pytest.raises(TooManyOwnJobs, match="2 jobs are unfinished; of one client this server"):
        await create(store, job(client="a"), own=own)
    await create(store, job(client="b", stored_bytes=600), own=own)


async def test_a_key_gives_its_first_job_again_and_refuses_another_request(store: Store) -> None:
    key = Key("", "key", "fingerprint")
    made = await create(store, job(), key)
    assert (await create(store, job(), key, max_jobs=1)).id == made.id
    with pytest.raises(KeyReused, match="'key' was used with another request before"):
        await create(store, job(), Key("", "key", "other"))
    assert (await create(store, job(), Key("someone", "key", "other"))).id != made.id
    await store.delete(made.id)
    assert (await create(store, job(), key)).id != made.id, "a forgotten job's key is free"


async def test_the_same_key_at_the_same_time_makes_one_job(store: Store) -> None:
    key = Key("", "key", "fingerprint")
    made = await asyncio.gather(*(create(store, job(), key) for _ in range(6)))
    assert len({one.id for one in made}) == 1


async def test_a_key_remembers_the_seed_of_its_model(store: Store) -> None:
    key = Key("", "key", "fingerprint")
    assert await store.remember(key, "us", 2**53 - 1, WEEK) == 2**53 - 1
    assert await store.remember(key, "us", 2, WEEK) == 2**53 - 1
    with pytest.raises(KeyReused):
        await store.remember(Key("", "key", "other"), "us", 3, WEEK)
    with pytest.raises(KeyOutdated, match="was answered by us, which is no longer served"):
        await store.remember(key, "them", 3, WEEK)


async def test_a_job_expires_then_is_known_to_have_been_then_is_forgotten(store: Store) -> None:
    key = Key("", "key", "fingerprint")
    made = await create(store, job(), key)
    await store.expire(WEEK)
    assert (await store.get(made.id)).status == "waiting"
    await set_job(store, made.id, expires_at=1.0)
    await store.expire(WEEK)
    assert (await store.get(made.id)).status == "expired"
    assert await store.to_purge() == [made.id]
    await store.purge(made.id)
    assert await store.to_purge() == []
    assert (await store.get(made.id)).stored_bytes == 0
    await set_job(store, made.id, expires_at=1.0)
    await store.expire(WEEK)
    assert await store.to_purge() == [made.id]
    await store.purge(made.id)
    with pytest.raises(UnknownJob):
        await store.get(made.id)
    assert (await create(store, job(), Key("", "key", "other"))).status == "waiting"


async def test_a_running_job_does_not_expire(store: Store) -> None:
    made = await create(store, job())
    turn = await claimed(store)
    await set_job(store, made.id, expires_at=1.0)
    await store.expire(WEEK)
    await store.leases.record(turn, kept(0))
    await store.leases.end_turn(turn, 1, 1.0, WEEK)
    assert (await store.get(made.id)).expires_at > 1.0, "a turn renews it"


async def test_a_webhook_is_due_again_and_again_until_it_is_heard(store: Store) -> None:
    made = await create(store, job(total=1, webhook_url="http://example.com"))
    assert await store.due_webhook([0.0]) is None, "the job has not ended"
    await store.leases.fail(await claimed(store), "no")
    attempts = []
    while (due := await store.due_webhook([0.0, 0.0])) is not None:
        attempts.append((due.id, due.webhook_attempts))
        await asyncio.sleep(0.01)
    assert attempts == [(made.id, 1), (made.id, 2), (made.id, 3)]


async def test_a_webhook_that_is_heard_is_not_due_any_more(store: Store) -> None:
    await create(store, job(webhook_url="http://example.com"))
    await store.leases.fail(await claimed(store), "no")
    due = await store.due_webhook([0.0])
    assert due is not None
    await store.called(due.id)
    assert await store.due_webhook([0.0]) is None


async def done(store: Store) -> Job:
    """A finished job of four samples."""
    made = await create(store, job())
    turn = await claimed(store)
    await store.leases.record(turn, kept(0, 1, 2, 3))
    await store.leases.end_turn(turn, 4, 1.0, WEEK)
    return made


async def test_lost_samples_are_made_again_and_the_others_are_not(store: Store) -> None:
    made = await done(store)
    assert await store.lose(made.id, [1, 3], None)
    found = await store.get(made.id)
    assert (found.status, found.done, found.next_number) == ("waiting", 2, 1)
    assert (found.finished_at, found.detail) == (None, None)
    assert not await store.lose(made.id, [1, 3], None), "who finds it second changes nothing"
    turn = await claimed(store)
    assert await store.leases.missing(turn, limit=10) == [1, 3]
    await store.leases.record(turn, kept(1, 3))
    await store.leases.end_turn(turn, 4, 1.0, WEEK)
    found = await store.get(made.id)
    assert (found.status, found.done) == ("finished", 4)
    assert (await store.index(made.id)).size.tolist() == [10, 11, 12, 13]


async def test_a_whole_result_may_be_lost(store: Store) -> None:
    made = await create(store, job(total=3000))
    turn = await claimed(store)
    await store.leases.record(turn, kept(*range(3000)))
    await store.leases.end_turn(turn, 3000, 1.0, WEEK)
    assert await store.lose(made.id, range(3000), None)
    found = await store.get(made.id)
    assert (found.status, found.done, found.next_number) == ("waiting", 0, 0)
    assert len((await store.index(made.id)).size) == 0


async def test_samples_that_cannot_be_made_again_fail_the_job(store: Store) -> None:
    made = await done(store)
    assert await store.lose(made.id, [2], "the weights are others")
    found = await store.get(made.id)
    assert (found.status, found.done, found.detail) == ("failed", 3, "the weights are others")
    assert found.finished_at is not None
    assert await store.leases.claim("me", "us", LEASE) is None


async def test_a_job_that_is_deleted_meanwhile_loses_nothing(store: Store) -> None:
    made = await done(store)
    await store.delete(made.id)
    assert not await store.lose(made.id, [0], None)
    assert await store.to_purge() == [made.id]
