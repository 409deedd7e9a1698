"""The job database, on SQLite and PostgreSQL: jobs, keys, webhooks."""

import asyncio
import contextlib
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from app.jobs.database import parse_url
from app.jobs.errors import (
    KeyOutdated,
    KeyReused,
    LostLease,
    TooManyKeys,
    UnknownJob,
)
from app.jobs.keys import Key
from app.jobs.quotas import KeyQuota
from app.jobs.store import Store
from app.jobs.tables import Job
from tests.app.jobs.rows import DAY, LEASE, WEEK, claimed, create, job, kept

pytestmark = pytest.mark.anyio

WEBHOOK: dict[str, Any] = {"webhook_url": "http://example.com", "webhook_host": "example.com"}
KEYS = KeyQuota(server=10, client=3, seconds=DAY)


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
    first = 2**53 - 1, "us"
    assert await store.remember(key, ["us"], 2**53 - 1, KEYS) == first
    assert await store.remember(key, ["others", "us"], 2, KEYS) == first
    with pytest.raises(KeyReused):
        await store.remember(Key("", "key", "other"), ["us"], 3, KEYS)
    with pytest.raises(KeyOutdated, match="was answered by a model whose weights are no longer"):
        await store.remember(key, ["them"], 3, KEYS)


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


async def test_a_call_is_that_of_whom_it_was_given_to_last_until_it_is_heard(store: Store) -> None:
    await create(store, job(**WEBHOOK))
    await store.leases.fail(await claimed(store), "no")
    mine = await store.due_webhook([0.0, 0.0])
    assert mine is not None and await store.awaits_call(mine)
    await asyncio.sleep(0.01)
    theirs = await store.due_webhook([0.0, 0.0])
    assert theirs is not None
    assert (await store.awaits_call(mine), await store.awaits_call(theirs)) == (False, True)
    await store.called(theirs.id)
    assert not await store.awaits_call(theirs)


async def test_a_webhook_of_a_busy_host_or_client_is_left_for_later(store: Store) -> None:
    for number in range(3):
        fields: dict[str, Any] = {
            **WEBHOOK,
            "webhook_host": f"host-{number}",
            "client": f"client-{number}",
        }
        await create(store, job(**fields))
        await store.leases.fail(await claimed(store), "no")
    due = await store.due_webhook([60.0], hosts=["host-0"], clients=["client-1"])
    assert due is not None and due.webhook_host == "host-2"
    assert await store.due_webhook([60.0], hosts=["host-0"], clients=["client-1"]) is None
    due = await store.due_webhook([60.0])
    assert due is not None and due.webhook_host == "host-0"


async def test_no_question_reads_the_whole_table(sqlite: Store) -> None:
    """Neither of jobs nor of keys: there may be 100,000 of each, and a plan may be long."""
    asked: list[tuple[str, Any]] = []

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        await create(sqlite, job(**WEBHOOK), Key("me", "key", "f"))
        for number, (server, own) in enumerate([(9, 9), (9, 1), (1, 9), (9, 1)]):
            with contextlib.suppress(TooManyKeys):  # where none makes room
                quota = KeyQuota(server, own, seconds=-1.0 if number < 2 else DAY)
                await sqlite.remember(Key("me", f"{number}", "f"), ["us"], 1, quota)
        await sqlite.leases.fail(await claimed(sqlite), "no")
        await sqlite.due_webhook([1.0], ["a host"], ["a client"])
        await sqlite.cleaning.expire(WEEK, DAY)
        await sqlite.cleaning.bring_back(60.0, 60.0)
        await sqlite.cleaning.to_purge()
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    engine = create_engine(sqlite.database.url.set(drivername="sqlite"))
    with engine.connect() as connection:
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                for step in (str(row[3]) for row in plan):
                    reads_all = step.startswith(("SCAN jobs", "SCAN job_", "SCAN idempotency"))
                    assert not reads_all or "INDEX" in step, (step, statement)
    engine.dispose()
    assert len(asked) > 20


async def done(store: Store, **fields: Any) -> Job:
    """A finished job of four samples."""
    made = await create(store, job(**fields))
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


async def make_again(store: Store, number: int) -> None:
    """Finish the job, of which this sample is missing."""
    turn = await claimed(store)
    await store.leases.record(turn, kept(number))
    await store.leases.end_turn(turn, 4, 1.0, WEEK)


async def test_a_webhook_that_was_heard_is_not_called_when_the_job_ends_again(store: Store) -> None:
    made = await done(store, **WEBHOOK)
    assert await store.due_webhook([0.0]) is not None
    await store.called(made.id)
    assert await store.lose(made.id, [1], None)
    await make_again(store, 1)
    assert (await store.get(made.id)).status == "finished"
    assert await store.due_webhook([0.0]) is None


async def test_a_webhook_that_was_not_heard_is_called_when_the_job_ends_again(
    store: Store,
) -> None:
    made = await done(store, **WEBHOOK)
    assert await store.due_webhook([0.0]) is not None
    assert await store.lose(made.id, [1], None)
    assert await store.due_webhook([0.0]) is None, "the job has not ended"
    await make_again(store, 1)
    due = await store.due_webhook([0.0])
    assert due is not None and due.status == "finished"


async def test_a_webhook_that_is_heard_while_the_job_goes_on_is_not_called_again(
    store: Store,
) -> None:
    made = await done(store, **WEBHOOK)
    assert await store.due_webhook([60.0]) is not None, "the call is on its way"
    assert await store.lose(made.id, [1], None)
    turn = await claimed(store)
    await store.called(made.id)
    await store.leases.record(turn, kept(1))
    await store.leases.end_turn(turn, 4, 1.0, WEEK)
    assert await store.due_webhook([0.0]) is None


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
    assert await store.leases.claim("me", ["us"], LEASE) is None


async def test_a_job_that_is_deleted_meanwhile_loses_nothing(store: Store) -> None:
    made = await done(store)
    await store.delete(made.id)
    assert not await store.lose(made.id, [0], None)
    assert await store.cleaning.to_purge() == [made.id]
