"""The job database, on SQLite and PostgreSQL: leases, fences, budgets, keys, expiry."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

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
from app.jobs.store import Kept, Quota, Store
from app.jobs.tables import Job

pytestmark = pytest.mark.anyio

LEASE = 60.0
WEEK = 7 * 24 * 3600.0
PLENTY = Quota(jobs=100, size=10**9)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    opened = Store(parse_url(database))
    await opened.open()
    yield opened
    await opened.close()


def job(total: int = 4, **fields: object) -> Job:
    return Job(
        **{
            "id": uuid4().hex,
            "client": "",
            "kind": "sample",
            "header": "{}",
            "plan": "the plan",
            "made_by": "us",
            "status": "waiting",
            "total": total,
            "stored_bytes": 100,
            "created_at": 0.0,
            "expires_at": WEEK,
            **fields,
        }
    )


async def create(
    store: Store,
    made: Job,
    key: Key | None = None,
    budget: int = 10_000,
    max_jobs: int = 10,
    own: Quota | None = None,
) -> Job:
    server = Quota(max_jobs, budget)
    return await store.create(made, key, seed=1, server=server, client=own or PLENTY)


async def claimed(store: Store, owner: str = "me", lease: float = LEASE) -> Job:
    found = await store.claim(owner, "us", lease)
    assert found is not None
    return found


def kept(*numbers: int) -> list[Kept]:
    return [Kept(number, 10 + number, number, 2 * number) for number in numbers]


async def set_job(store: Store, job_id: str, **values: object) -> None:
    async with store._writing() as session:
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


async def test_a_job_runs_turn_by_turn_until_it_is_finished(store: Store) -> None:
    made = await create(store, job(total=4))
    turn = await claimed(store)
    assert (turn.id, turn.plan) == (made.id, "the plan")
    assert await store.missing(turn, 3) == [0, 1, 2]
    await store.record(turn, kept(2, 0))
    await store.record(turn, kept(1))
    await store.end_turn(turn, 3, 1.5, WEEK)
    turn = await claimed(store)
    assert await store.missing(turn, 3) == [3]
    await store.record(turn, kept(3))
    await store.end_turn(turn, 4, 0.5, WEEK)
    assert await store.claim("me", "us", LEASE) is None
    done = await store.get(made.id)
    assert (done.status, done.done, done.run_seconds) == ("finished", 4, 2.0)
    assert done.stored_bytes == 10 + 11 + 12 + 13, "what it takes, not what was reserved"
    index = await store.index(made.id)
    assert index.size.tolist() == [10, 11, 12, 13]
    assert index.first_crc.tolist() == [0, 1, 2, 3]
    assert index.second_crc.tolist() == [0, 2, 4, 6]


async def test_after_a_crash_only_what_is_missing_is_left(store: Store) -> None:
    await create(store, job(total=6))
    turn = await claimed(store, lease=0.0)  # dies with a lease that ends at once
    await store.record(turn, kept(0, 2, 3))
    turn = await claimed(store, "other")
    assert await store.missing(turn, 2) == [1, 4]
    await store.record(turn, kept(1, 4))
    await store.end_turn(turn, 5, 1.0, WEEK)
    assert await store.missing(await claimed(store), 10) == [5]


async def test_a_leased_job_is_nobody_elses_until_the_lease_ends(store: Store) -> None:
    made = await create(store, job())
    mine = await claimed(store, "me")
    assert await store.claim("other", "us", LEASE) is None
    await store.extend(mine, 0.0)
    theirs = await claimed(store, "other")
    assert theirs.id == made.id
    for attempt in (
        store.extend(mine, LEASE),
        store.record(mine, kept(0)),
        store.end_turn(mine, 4, 1.0, WEEK),
        store.release(mine, None),
        store.fail(mine, "no"),
    ):
        with pytest.raises(LostLease):
            await attempt
    assert (await store.get(made.id)).done == 0, "what the fence refused changed nothing"
    await store.record(theirs, kept(0))


async def test_jobs_take_turns_and_nobody_runs_what_another_model_has_to(store: Store) -> None:
    first, second = await create(store, job()), await create(store, job())
    await create(store, job(made_by="them"))
    order = []
    for _ in range(4):
        turn = await claimed(store)
        order.append(turn.id)
        await store.release(turn, "waits")
    assert order == [first.id, second.id] * 2
    assert (await store.get(first.id)).detail == "waits"


async def test_many_who_claim_at_once_get_different_jobs(store: Store) -> None:
    made = {(await create(store, job())).id for _ in range(5)}
    claims = await asyncio.gather(*(store.claim(f"{i}", "us", LEASE) for i in range(8)))
    found = [claim.id for claim in claims if claim is not None]
    assert len(found) == len(set(found)) <= 5
    while (late := await store.claim("late", "us", LEASE)) is not None:
        found.append(late.id)  # PostgreSQL may skip a row that another one is just looking at
    assert set(found) == made


async def test_a_call_of_sqlite_is_carried_through_although_its_caller_is_cancelled(
    sqlite: Store,
) -> None:
    """Half a transaction would keep everybody else from writing."""
    made = await create(sqlite, job())
    claim = asyncio.create_task(sqlite.claim("me", "us", LEASE))
    await asyncio.sleep(0)
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    assert (await sqlite.get(made.id)).owner == "me"


async def test_a_failed_job_says_why_and_is_not_run_again(store: Store) -> None:
    made = await create(store, job())
    await store.fail(await claimed(store), "sample 3 is not a number")
    found = await store.get(made.id)
    assert (found.status, found.detail) == ("failed", "sample 3 is not a number")
    assert await store.claim("me", "us", LEASE) is None


async def test_a_deleted_job_is_forgotten_at_once_and_its_files_when_its_turn_is_over(
    store: Store,
) -> None:
    made = await create(store, job())
    turn = await claimed(store)
    await store.record(turn, kept(0))
    await store.delete(made.id)
    with pytest.raises(UnknownJob):
        await store.get(made.id)
    with pytest.raises(LostLease):
        await store.record(turn, kept(1))
    assert await store.to_purge() == [], "its old owner may still be writing"
    await store.leave(turn)
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
    await store.record(turn, kept(0))
    await store.end_turn(turn, 1, 1.0, WEEK)
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
    with pytest.raises(KeyReused, match="'key' came with another request before"):
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
    await store.record(turn, kept(0))
    await store.end_turn(turn, 1, 1.0, WEEK)
    assert (await store.get(made.id)).expires_at > 1.0, "a turn renews it"


async def test_a_webhook_is_due_again_and_again_until_it_is_heard(store: Store) -> None:
    made = await create(store, job(total=1, webhook_url="http://example.com"))
    assert await store.due_webhook([0.0]) is None, "the job has not ended"
    await store.fail(await claimed(store), "no")
    attempts = []
    while (due := await store.due_webhook([0.0, 0.0])) is not None:
        attempts.append((due.id, due.webhook_attempts))
        await asyncio.sleep(0.01)
    assert attempts == [(made.id, 1), (made.id, 2), (made.id, 3)]


async def test_a_webhook_that_is_heard_is_not_due_any_more(store: Store) -> None:
    await create(store, job(webhook_url="http://example.com"))
    await store.fail(await claimed(store), "no")
    due = await store.due_webhook([0.0])
    assert due is not None
    await store.called(due.id)
    assert await store.due_webhook([0.0]) is None
