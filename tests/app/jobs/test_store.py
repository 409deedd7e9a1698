"""The job database, on SQLite and PostgreSQL: budgets, keys, webhooks."""

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
    TooManyKeys,
    TooManyOwnJobs,
    TooManyOwnKeys,
    UnknownJob,
)
from app.jobs.keys import Key
from app.jobs.quotas import KeyQuota, Quota
from app.jobs.store import Store
from app.jobs.tables import Job
from tests.app.jobs.rows import WEEK, claimed, create, job, kept

pytestmark = pytest.mark.anyio

WEBHOOK = {"webhook_url": "http://example.com", "webhook_host": "example.com"}
KEYS = KeyQuota(server=10, client=3)


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
    assert await store.cleaning.to_purge() == [], "its old owner may still be writing"
    await store.leases.leave(turn)
    assert await store.cleaning.to_purge() == [made.id]
    await store.cleaning.purge(made.id)
    assert await store.cleaning.to_purge() == []
    with pytest.raises(UnknownJob):
        await store.delete(made.id)


async def test_jobs_over_the_budget_are_refused_until_others_are_gone(store: Store) -> None:
    first = await create(store, job(stored_bytes=600), budget=1000)
    with pytest.raises(
        StorageFull, match=r"may take 500 bytes; of the 1000 .* 400 are left.*DELETE"
    ):
        await create(store, job(stored_bytes=500), budget=1000)
    await store.delete(first.id)
    await store.cleaning.purge(first.id)
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
    assert await store.remember(key, "us", 2**53 - 1, WEEK, KEYS) == 2**53 - 1
    assert await store.remember(key, "us", 2, WEEK, KEYS) == 2**53 - 1
    with pytest.raises(KeyReused):
        await store.remember(Key("", "key", "other"), "us", 3, WEEK, KEYS)
    with pytest.raises(KeyOutdated, match="was answered by us, which is no longer served"):
        await store.remember(key, "them", 3, WEEK, KEYS)


async def test_a_webhook_is_due_again_and_again_until_it_is_heard(store: Store) -> None:
    made = await create(store, job(total=1, **WEBHOOK))
    assert await store.due_webhook([0.0]) is None, "the job has not ended"
    await store.leases.fail(await claimed(store), "no")
    attempts = []
    while (due := await store.due_webhook([0.0, 0.0])) is not None:
        attempts.append((due.id, due.webhook_attempts))
        await asyncio.sleep(0.01)
    assert attempts == [(made.id, 1), (made.id, 2), (made.id, 3)]


async def test_a_webhook_that_is_heard_is_not_due_any_more(store: Store) -> None:
    await create(store, job(**WEBHOOK))
    await store.leases.fail(await claimed(store), "no")
    due = await store.due_webhook([0.0])
    assert due is not None
    await store.called(due.id)
    assert await store.due_webhook([0.0]) is None


async def test_a_webhook_of_a_busy_host_or_client_is_left_for_later(store: Store) -> None:
    for number in range(3):
        fields = {**WEBHOOK, "webhook_host": f"host-{number}", "client": f"client-{number}"}
        await create(store, job(**fields))
        await store.leases.fail(await claimed(store), "no")
    due = await store.due_webhook([60.0], hosts=["host-0"], clients=["client-1"])
    assert due is not None and due.webhook_host == "host-2"
    assert await store.due_webhook([60.0], hosts=["host-0"], clients=["client-1"]) is None
    due = await store.due_webhook([60.0])
    assert due is not None and due.webhook_host == "host-0"


async def test_keys_of_synchronous_requests_are_counted_against_the_client_and_the_server(
    store: Store,
) -> None:
    quota = KeyQuota(server=3, client=2)
    for number in range(2):
        await store.remember(Key("a", f"{number}", "f"), "us", 1, WEEK, quota)
    with pytest.raises(
        TooManyOwnKeys, match="2 keys are remembered; of one client .* keeps 2"
    ) as own:
        await store.remember(Key("a", "2", "f"), "us", 1, WEEK, quota)
    assert WEEK - 60 < own.value.retry_after <= WEEK
    assert "send the request without a key" in str(own.value)
    assert await store.remember(Key("a", "1", "f"), "us", 9, WEEK, quota) == 1, (
        "a known one is not new"
    )
    await create(store, job(client="a"), Key("a", "of a job", "f"))
    await store.remember(Key("b", "0", "f"), "us", 1, WEEK, quota)
    with pytest.raises(TooManyKeys, match="3 keys are remembered; this server keeps 3") as all_keys:
        await store.remember(Key("b", "1", "f"), "us", 1, WEEK, quota)
    assert not isinstance(all_keys.value, TooManyOwnKeys)


async def test_the_number_of_jobs_that_are_remembered_is_bounded(store: Store) -> None:
    own = Quota(jobs=10, size=10**9, remembered=2)
    made = [await create(store, job(), own=own) for _ in range(2)]
    for _ in made:
        await store.leases.fail(await claimed(store), "no")
    with pytest.raises(StorageFull, match="2 jobs are kept.* of one client .* keeps 2: DELETE"):
        await create(store, job(), own=own)
    await store.delete(made[0].id)
    await store.cleaning.purge(made[0].id)
    await create(store, job(), own=own)


async def test_a_thousand_clients_meet_the_servers_own_limit(store: Store) -> None:
    server, own = Quota(jobs=50, size=10**9), Quota(jobs=2, size=10**9)
    refused = 0
    for number in range(1000):
        made = job(client=f"2001:db8:{number:x}::/64")
        try:
            await store.create(made, None, seed=1, server=server, client=own)
        except TooManyJobs:
            refused += 1
    assert refused == 950
