"""What expires and is forgotten, and what a clock that was set back does."""

import pytest
from sqlalchemy import func, select, update

from app.jobs import cleaning
from app.jobs.errors import UnknownJob
from app.jobs.keys import Key
from app.jobs.quotas import KeyQuota
from app.jobs.store import Store
from app.jobs.tables import IdempotencyKey, Job
from tests.app.jobs.rows import DAY, LEASE, WEEK, claimed, create, job, kept

pytestmark = pytest.mark.anyio

YEAR = 365 * 24 * 3600.0


async def set_job(store: Store, job_id: str, **values: object) -> None:
    async with store.database.writing() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(**values))


def kept_for(seconds: float) -> KeyQuota:
    return KeyQuota(server=10, client=10, seconds=seconds)


async def test_a_job_expires_then_is_known_to_have_been_then_is_forgotten(store: Store) -> None:
    key = Key("", "key", "fingerprint")
    made = await create(store, job(), key)
    await store.cleaning.expire(WEEK, DAY)
    assert (await store.get(made.id)).status == "waiting"
    await set_job(store, made.id, expires_at=1.0)
    await store.cleaning.expire(WEEK, DAY)
    assert (await store.get(made.id)).status == "expired"
    assert await store.cleaning.to_purge() == [made.id]
    await store.cleaning.purge(made.id)
    assert await store.cleaning.to_purge() == []
    assert (await store.get(made.id)).stored_bytes == 0
    await set_job(store, made.id, expires_at=1.0)
    await store.cleaning.expire(WEEK, DAY)
    assert await store.cleaning.to_purge() == [made.id]
    await store.cleaning.purge(made.id)
    with pytest.raises(UnknownJob):
        await store.get(made.id)
    assert (await create(store, job(), Key("", "key", "other"))).status == "waiting"


async def test_a_running_job_does_not_expire(store: Store) -> None:
    made = await create(store, job())
    turn = await claimed(store)
    await set_job(store, made.id, expires_at=1.0)
    await store.cleaning.expire(WEEK, DAY)
    await store.leases.record(turn, kept(0))
    await store.leases.end_turn(turn, 1, 1.0, WEEK)
    assert (await store.get(made.id)).expires_at > 1.0, "a turn renews it"


async def test_many_expire_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "BATCH", 2)
    for number in range(5):
        await store.remember(Key("me", f"{number}", "f"), ["us"], 1, kept_for(-1.0))
        await create(store, job(expires_at=-1.0))
    await store.remember(Key("me", "later", "f"), ["us"], 1, kept_for(DAY))
    later = await create(store, job())
    batches = 1
    while await store.cleaning.expire(WEEK, DAY):
        batches += 1
    assert batches == 3
    async with store.database.reading() as session:
        assert (await session.scalars(select(IdempotencyKey.key))).all() == ["later"]
        alive = select(Job.id).where(Job.status == "waiting")
        assert (await session.scalars(alive)).all() == [later.id]
        expired = select(func.count()).where(Job.status == "expired")
        assert await session.scalar(expired) == 5


async def test_keys_of_synchronous_requests_live_no_longer_than_is_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those of a version that kept them for a week, nor those of a clock that was set
    back; a job's lives as long as the job."""
    monkeypatch.setattr(cleaning, "BATCH", 2)
    for number in range(5):
        await store.remember(Key("me", f"{number}", "f"), ["us"], 1, kept_for(YEAR))
    await store.remember(Key("me", "new", "f"), ["us"], 1, kept_for(DAY - 100.0))
    await create(store, job(), Key("me", "of a job", "f"))
    while await store.cleaning.expire(WEEK, DAY):
        pass
    async with store.database.reading() as session:
        found = await session.execute(select(IdempotencyKey.key, IdempotencyKey.expires_at))
        left = {key: expires_at - await store.clock() for key, expires_at in found}
    assert left == {
        **{f"{number}": pytest.approx(DAY, abs=60.0) for number in range(5)},
        "new": pytest.approx(DAY - 100.0, abs=60.0),
        "of a job": pytest.approx(WEEK, abs=60.0),
    }


async def test_a_clock_that_is_set_back_keeps_no_job_waiting_for_the_old_time(
    store: Store,
) -> None:
    """A server dies with a lease, then the clock is set back by a year."""
    dead, ended = [
        await create(store, job(webhook_url="http://a.b", webhook_host="a.b")) for _ in "12"
    ]
    await store.leases.fail(await claimed(store), "no")
    await claimed(store)
    dead, ended = ended, dead
    at = await store.clock()
    ahead = at + YEAR
    await set_job(store, dead.id, lease_until=ahead + LEASE, turn_at=ahead)
    await set_job(store, ended.id, webhook_due=ahead)
    assert await store.leases.claim("other", ["us"], LEASE) is None
    await store.cleaning.bring_back(LEASE, 10.0)
    found = await store.get(dead.id)
    assert found.lease_until is not None
    assert at <= found.lease_until <= at + 60 + LEASE, (
        "its owner, if it lives, has time to extend it"
    )
    assert found.turn_at <= await store.clock()
    due = await store.due_webhook([60.0])
    assert due is not None and due.id == ended.id


async def test_what_lies_ahead_as_it_should_stays_there(store: Store) -> None:
    made = await create(store, job(webhook_url="http://a.b", webhook_host="a.b"))
    turn = await claimed(store, lease=3 * LEASE)  # of a server with longer leases
    before = await store.get(made.id)
    await store.cleaning.bring_back(LEASE, 10.0)
    assert (await store.get(made.id)).lease_until == before.lease_until
    await store.leases.fail(turn, "no")
    assert await store.due_webhook([10.0]) is not None
    await store.cleaning.bring_back(LEASE, 10.0)
    assert await store.due_webhook([10.0]) is None
