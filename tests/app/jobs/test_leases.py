"""Turns of jobs under leases and fences, on SQLite and PostgreSQL."""

import asyncio

import pytest
from sqlalchemy import update

from app.jobs import database, leases
from app.jobs.database import parse_url
from app.jobs.errors import LostLease, StorageUnavailable
from app.jobs.store import Store
from app.jobs.tables import Job
from tests.app.jobs.rows import LEASE, WEEK, claimed, create, job, kept
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio


async def test_a_job_runs_turn_by_turn_until_it_is_finished(store: Store) -> None:
    made = await create(store, job(total=4))
    turn = await claimed(store)
    assert (turn.id, turn.plan) == (made.id, "the plan")
    assert await store.leases.missing(turn, 3) == [0, 1, 2]
    await store.leases.record(turn, kept(2, 0))
    await store.leases.record(turn, kept(1))
    await store.leases.end_turn(turn, 3, 1.5, WEEK)
    turn = await claimed(store)
    assert await store.leases.missing(turn, 3) == [3]
    await store.leases.record(turn, kept(3))
    await store.leases.end_turn(turn, 4, 0.5, WEEK)
    assert await store.leases.claim("me", ["us"], LEASE) is None
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
    await store.leases.record(turn, kept(0, 2, 3))
    turn = await claimed(store, "other")
    assert await store.leases.missing(turn, 2) == [1, 4]
    await store.leases.record(turn, kept(1, 4))
    await store.leases.end_turn(turn, 5, 1.0, WEEK)
    assert await store.leases.missing(await claimed(store), 10) == [5]


async def test_a_leased_job_is_nobody_elses_until_the_lease_ends(store: Store) -> None:
    made = await create(store, job())
    mine = await claimed(store, "me")
    assert await store.leases.claim("other", ["us"], LEASE) is None
    await store.leases.extend(mine, 0.0)
    theirs = await claimed(store, "other")
    assert theirs.id == made.id
    for attempt in (
        store.leases.extend(mine, LEASE),
        store.leases.record(mine, kept(0)),
        store.leases.end_turn(mine, 4, 1.0, WEEK),
        store.leases.release(mine, None),
        store.leases.fail(mine, "no"),
    ):
        with pytest.raises(LostLease):
            await attempt
    assert (await store.get(made.id)).done == 0, "what the fence refused changed nothing"
    await store.leases.record(theirs, kept(0))


async def test_jobs_take_turns_and_nobody_runs_what_another_model_has_to(store: Store) -> None:
    first, second = await create(store, job()), await create(store, job())
    await create(store, job(made_by="them"))
    order = []
    for _ in range(4):
        turn = await claimed(store)
        order.append(turn.id)
        await store.leases.release(turn, "waits")
    assert order == [first.id, second.id] * 2
    assert (await store.get(first.id)).detail == "waits"


async def test_many_jobs_of_one_client_do_not_hold_up_those_of_another(store: Store) -> None:
    for _ in range(5):
        await create(store, job(total=1, client="many"))
    few = [(await create(store, job(total=1, client=client))).id for client in ("a", "b")]
    order = []
    for _ in range(5):
        turn = await claimed(store)
        order.append(turn.id if turn.id in few else "many")
        await store.leases.fail(turn, "it is over")
    assert order == ["many", *few, "many", "many"]


async def test_the_last_turns_of_clients_are_forgotten_beyond_a_number(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "MAX_SERVED", 3)
    for number in range(10):
        await create(store, job(client=f"{number}"), max_jobs=20)
        await store.leases.fail(await claimed(store), "it is over")
    assert list(store.leases._served) == ["7", "8", "9"]


async def test_a_client_that_had_its_turn_before_the_clock_was_set_back_is_not_the_last(
    store: Store,
) -> None:
    store.leases._served["before"] = await store.clock() + 1e9
    first = await create(store, job(client="before"))
    await create(store, job(client="other"))
    assert (await claimed(store)).id == first.id


async def test_the_time_in_which_nobody_runs_a_job_does_not_count(store: Store) -> None:
    made = await create(store, job())
    turn = await claimed(store)
    await store.leases.record(turn, kept(0))
    await store.leases.end_turn(turn, 1, 1.0, WEEK)
    assert (await store.get(made.id)).resumed_at is not None, "it runs, though not just now"
    await store.leases.release(await claimed(store), "the server stops")
    assert (await store.get(made.id)).resumed_at is None
    again = await claimed(store)  # by the same owner, who waited for its engine
    assert again.resumed_at is not None
    assert again.resumed_done == 1
    await store.leases.end_turn(again, 1, 1.0, WEEK)
    await store.leases.release_all()  # after a crash between two turns
    assert (await store.get(made.id)).resumed_at is None


async def test_many_who_claim_at_once_get_different_jobs(store: Store) -> None:
    made = {(await create(store, job())).id for _ in range(5)}
    claims = await asyncio.gather(*(store.leases.claim(f"{i}", ["us"], LEASE) for i in range(8)))
    found = [claim.id for claim in claims if claim is not None]
    assert len(found) == len(set(found)) <= 5
    while (late := await store.leases.claim("late", ["us"], LEASE)) is not None:
        found.append(late.id)  # PostgreSQL may skip a row that another one is just looking at
    assert set(found) == made


async def test_a_failed_job_says_why_and_is_not_run_again(store: Store) -> None:
    made = await create(store, job())
    await store.leases.fail(await claimed(store), "sample 3 is not a number")
    found = await store.get(made.id)
    assert (found.status, found.detail) == ("failed", "sample 3 is not a number")
    assert await store.leases.claim("me", ["us"], LEASE) is None


async def test_a_process_that_stops_in_a_transaction_keeps_no_job_from_others(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDLE_SECONDS", 0.2)
    url = parse_url(postgres.new_database())
    store, other = Store(url), Store(url)
    await store.open()
    made = await create(store, job())
    await claimed(store, "me", lease=0.0)
    with pytest.raises(StorageUnavailable):
        async with store.database.writing() as session:
            await session.execute(update(Job).values(done=1))
            async with asyncio.timeout(30):  # it stops here, as one whose machine is gone
                while (theirs := await other.leases.claim("other", ["us"], LEASE)) is None:
                    await asyncio.sleep(0.05)
    assert (theirs.id, (await other.get(made.id)).done) == (made.id, 0)
    await store.close()
    await other.close()
