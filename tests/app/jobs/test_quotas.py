"""What one client, and all of them, may have in the job database."""

import pytest
from sqlalchemy import select, update

from app.jobs import quotas
from app.jobs.errors import (
    StorageFull,
    TooManyJobs,
    TooManyKeys,
    TooManyOwnJobs,
    TooManyOwnKeys,
)
from app.jobs.keys import Key
from app.jobs.quotas import KeyQuota, Quota
from app.jobs.store import Store
from app.jobs.tables import IdempotencyKey
from tests.app.jobs.rows import DAY, WEEK, claimed, create, job, kept

pytestmark = pytest.mark.anyio


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


HOUR = 3600.0


async def remember(
    store: Store, client: str, key: str, age: float = 0.0, server: int = 100, own: int = 100
) -> None:
    """A key of a synchronous request that came `age` seconds ago."""
    quota = KeyQuota(server, own, DAY)
    await store.remember(Key(client, key, "f"), ["us"], 1, quota)
    async with store.database.writing() as session:
        is_it = IdempotencyKey.client == client, IdempotencyKey.key == key
        change = update(IdempotencyKey).where(*is_it)
        await session.execute(change.values(expires_at=IdempotencyKey.expires_at - age))


async def keys_of(store: Store, client: str) -> set[str]:
    async with store.database.reading() as session:
        query = select(IdempotencyKey.key).where(IdempotencyKey.client == client)
        return set(await session.scalars(query))


async def test_keys_of_synchronous_requests_are_counted_against_the_client_and_the_server(
    store: Store,
) -> None:
    await remember(store, "a", "0", age=1000.0)
    await remember(store, "a", "1")
    with pytest.raises(
        TooManyOwnKeys, match="2 keys are remembered; of one client this server keeps 2"
    ) as own:
        await remember(store, "a", "2", own=2)
    assert HOUR - 1060 < own.value.retry_after <= HOUR - 1000, "when the oldest is an hour old"
    assert "send the request without a key" in str(own.value)
    known, quota = Key("a", "1", "f"), KeyQuota(server=2, client=2, seconds=DAY)
    assert await store.remember(known, ["us"], 9, quota) == (1, "us"), "a known one is not new"
    await create(store, job(client="a"), Key("a", "of a job", "f"))
    await remember(store, "b", "0", server=3)
    with pytest.raises(TooManyKeys, match="3 keys are remembered; this server keeps 3") as all_keys:
        await remember(store, "b", "1", server=3)
    assert not isinstance(all_keys.value, TooManyOwnKeys)
    assert HOUR - 1060 < all_keys.value.retry_after <= HOUR - 1000


async def test_a_client_that_always_sends_a_key_is_never_locked_out(store: Store) -> None:
    """Its oldest keys make room, if they are older than an hour; nobody else's, and no job's."""
    for key, age in (("second", 2 * HOUR), ("first", 3 * HOUR), ("new", HOUR / 2)):
        await remember(store, "a", key, age)
    await remember(store, "b", "old", 20 * HOUR)
    await create(store, job(client="a", expires_at=HOUR), Key("a", "of a job", "f"))
    await remember(store, "a", "next", own=3)
    assert await keys_of(store, "a") == {"second", "new", "next", "of a job"}
    await remember(store, "a", "last", own=3)
    assert await keys_of(store, "a") == {"new", "next", "last", "of a job"}
    with pytest.raises(TooManyOwnKeys):
        await remember(store, "a", "too many", own=3)
    assert await keys_of(store, "b") == {"old"}


async def test_over_the_servers_limit_the_client_with_most_old_keys_makes_room(
    store: Store,
) -> None:
    for number in range(3):
        await remember(store, "greedy", f"{number}", age=(9 - number) * HOUR)
    await remember(store, "modest", "oldest", age=20 * HOUR)
    await remember(store, "new", "0")
    await remember(store, "new", "1", server=5)
    assert await keys_of(store, "greedy") == {"1", "2"}
    assert await keys_of(store, "modest") == {"oldest"}
    for number in (2, 3, 4):
        await remember(store, "new", f"{number}", server=5)
    with pytest.raises(TooManyKeys) as refused:
        await remember(store, "new", "5", server=5)
    assert HOUR - 60 < refused.value.retry_after <= HOUR


async def test_a_smaller_quota_is_reached_in_steps_that_are_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BATCH", 3)
    for number in range(8):
        await remember(store, "a", f"{number}", age=(9 - number) * HOUR)
    await remember(store, "a", "new", own=2)
    assert await keys_of(store, "a") == {"3", "4", "5", "6", "7", "new"}
    await remember(store, "a", "newer", own=2)
    assert await keys_of(store, "a") == {"6", "7", "new", "newer"}


async def test_keys_that_are_kept_for_less_than_an_hour_make_room_when_they_expire(
    store: Store,
) -> None:
    quota = KeyQuota(server=100, client=1, seconds=600.0)
    await store.remember(Key("a", "0", "f"), ["us"], 1, quota)
    with pytest.raises(TooManyOwnKeys) as refused:
        await store.remember(Key("a", "1", "f"), ["us"], 1, quota)
    assert 540 < refused.value.retry_after <= 600


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


@pytest.mark.slow
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
