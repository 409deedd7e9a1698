"""What the tables themselves promise. That the migrations make them is tested with these."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Dialect, create_engine, event, func, inspect, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.jobs.tables import UNFINISHED, Base, IdempotencyKey, Job, Sample, now


@pytest.fixture
def session() -> Iterator[Session]:
    """An empty SQLite database in memory."""
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "abc", "client": "me", "kind": "sample", "header": "{}", "plan": "{}",
        "made_by": "m", "status": "waiting", "total": 2, "stored_bytes": 0, "created_at": 1.0,
        "expires_at": 2.0, "turn_at": 1.0,
    }  # fmt: skip
    return Job(**{**fields, **changes})


def key(**changes: Any) -> IdempotencyKey:
    fields: dict[str, Any] = {
        "client": "me", "key": "k", "fingerprint": "f", "made_by": "m", "seed": 2**53 - 1,
        "job_id": None, "expires_at": 2.0,
    }  # fmt: skip
    return IdempotencyKey(**{**fields, **changes})


def test_a_new_job_has_done_nothing_and_belongs_to_nobody(session: Session) -> None:
    session.add(job())
    session.commit()
    kept = session.get_one(Job, "abc")
    assert (kept.done, kept.next_number, kept.resumed_done, kept.fence) == (0, 0, 0, 0)
    assert (kept.run_seconds, kept.webhook_attempts, kept.purged) == (0.0, 0, False)
    assert (kept.owner, kept.lease_until, kept.started_at, kept.detail) == (None,) * 4
    assert kept.status in UNFINISHED


@pytest.mark.parametrize("done", [-1, 3])
def test_a_job_cannot_have_done_less_than_nothing_or_more_than_all(
    session: Session, done: int
) -> None:
    session.add(job(done=done))
    with pytest.raises(IntegrityError, match="jobs_done"):
        session.commit()


def test_a_jobs_plan_is_loaded_only_when_it_is_asked_for(session: Session) -> None:
    session.add(job(plan='{"labels": []}'))
    session.commit()
    session.expunge_all()
    kept = session.scalars(select(Job)).one()
    assert "plan" in inspect(kept).unloaded
    assert "header" not in inspect(kept).unloaded
    assert kept.plan == '{"labels": []}'


def test_with_a_job_go_its_samples_and_its_key_and_no_other(session: Session) -> None:
    session.add_all([job(), job(id="other")])
    session.flush()
    sizes = {"size": 2**40, "first_crc": 2**32 - 1, "second_crc": 0}
    session.add_all(Sample(job_id="abc", number=number, **sizes) for number in range(2))
    session.add(Sample(job_id="other", number=0, **sizes))
    session.add_all([key(job_id="abc"), key(key="of a sample")])
    session.commit()
    session.delete(session.get_one(Job, "abc"))
    session.commit()
    assert session.scalars(select(Sample.job_id)).all() == ["other"]
    assert session.scalars(select(IdempotencyKey.key)).all() == ["of a sample"]


def test_two_clients_may_use_the_same_key_and_one_may_not_twice(session: Session) -> None:
    session.add_all([key(), key(client="you")])
    session.commit()
    assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 2
    session.expunge_all()
    session.add(key(seed=1))
    with pytest.raises(IntegrityError, match="UNIQUE"):
        session.commit()


def test_now_is_the_time_of_the_database_in_unix_seconds(session: Session) -> None:
    before = time.time()
    told = session.scalar(select(now()))
    assert told is not None
    assert before - 0.01 <= told <= time.time() + 0.01  # SQLite's clock has milliseconds


def test_now_in_postgresql_goes_on_within_a_transaction() -> None:
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    sql = str(select(now()).compile(dialect=dialect))
    assert "extract(epoch from clock_timestamp())::double precision" in sql
