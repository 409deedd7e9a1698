"""What one client, and all of them, may have in the job database."""

import pytest

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
from tests.app.jobs.rows import WEEK, claimed, create, job, kept

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
