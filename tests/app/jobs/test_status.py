"""A job's status: its speed, and what it waits for."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.jobs.status import describe
from app.jobs.tables import Job
from app.pool.makers import maker
from app.wire.messages import Starting
from tests.app.jobs.fakes import KEY, MODEL, FakePool, make_job, make_plan


def job(**fields: Any) -> Job:
    """A job of 10 samples that was taken up 5 seconds before the time 100 with 2 of them. One turn
    has ended, at 99, with the fourth; of the next turn there is one sample."""
    made = make_job(make_plan(n=10))
    made.header = json.dumps(make_plan(n=10).header)
    known = {
        "status": "running", "done": 5, "resumed_at": 95.0, "resumed_done": 2, "created_at": 90.0,
        "started_at": 91.0, "finished_at": None, "expires_at": 1000.0, "detail": None,
        "lease_until": 110.0, "next_number": 4, "turn_at": 99.0,
    }  # fmt: skip
    for name, value in {**known, **fields}.items():
        setattr(made, name, value)
    return made


def test_the_rate_is_that_of_the_present_owner(pool: FakePool) -> None:
    found = describe(job(), 100.0, pool.as_pool())
    assert (found.rate, found.left_s, found.detail) == (0.5, 11.0, None)


def test_between_two_turns_the_rate_is_known_all_the_same(pool: FakePool) -> None:
    assert describe(job(lease_until=None), 100.0, pool.as_pool()).rate == 0.5


def test_the_first_samples_of_a_turn_do_not_change_the_estimate(pool: FakePool) -> None:
    few, many = (describe(job(done=done), 101.0, pool.as_pool()) for done in (4, 9))
    assert few.left_s == many.left_s == 10.0


def test_a_turn_that_takes_longer_than_thought_does_not_end_in_the_past(pool: FakePool) -> None:
    found = describe(job(lease_until=None), 1000.0, pool.as_pool())
    assert found.left_s == 0.0


def test_once_its_owner_is_dead_it_waits_and_its_rate_says_nothing(pool: FakePool) -> None:
    found = describe(job(lease_until=99.0), 100.0, pool.as_pool())
    assert (found.status, found.rate, found.left_s) == ("waiting", None, None)
    ended = describe(job(status="finished", lease_until=99.0), 100.0, pool.as_pool())
    assert ended.status == "finished"


def test_what_was_given_back_in_the_middle_of_a_turn_waits(pool: FakePool) -> None:
    """So it is after a server of its own database was killed and started again."""
    found = describe(job(lease_until=None, resumed_at=None), 100.0, pool.as_pool())
    assert (found.status, found.rate) == ("waiting", None)
    assert describe(job(lease_until=None), 100.0, pool.as_pool()).status == "running"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "waiting"},
        {"next_number": 2},
        {"resumed_at": None},
        {"resumed_at": 99.5},  # after the last turn: a restart
    ],
)
def test_without_progress_there_is_no_rate(fields: dict[str, Any], pool: FakePool) -> None:
    found = describe(job(**fields), 100.0, pool.as_pool())
    assert (found.rate, found.left_s) == (None, None)


def test_a_job_of_other_weights_says_what_it_waits_for(pool: FakePool) -> None:
    left = job(made_by="another", lease_until=None)
    detail = describe(left, 100.0, pool.as_pool()).detail
    assert detail == "waits for a server that has its model's weights: another"
    taken = job(made_by="another", lease_until=110.0)
    assert describe(taken, 100.0, pool.as_pool()).detail is None, "such a server runs it"


def test_a_job_that_another_kind_of_machine_began_says_so(pool: FakePool) -> None:
    made_by = maker(replace(MODEL, machine="another"))
    left = job(made_by=made_by, lease_until=None)
    detail = describe(left, 100.0, pool.as_pool()).detail
    assert detail is not None and detail.startswith("waits: no engine is of the kind of machine")
    assert describe(job(made_by=made_by), 100.0, pool.as_pool()).detail is None, "it is run"
    pool.engine.finish(KEY, machine="another")
    assert describe(left, 100.0, pool.as_pool()).detail is None


def test_while_the_model_is_loaded_that_is_what_it_waits_for(pool: FakePool) -> None:
    pool.lose_model()
    detail = describe(job(lease_until=None), 100.0, pool.as_pool()).detail
    assert detail == "waits for the engine: the model is being loaded"


def test_a_job_of_a_model_that_is_unloaded_waits_for_it(pool: FakePool) -> None:
    pool.engine.die()
    pool.engine.starting = Starting(KEY, "loading")
    detail = describe(job(), 100.0, pool.as_pool()).detail
    assert detail == "waits for the model fake to be loaded: loading"


def test_what_has_ended_waits_for_nothing(pool: FakePool) -> None:
    found = describe(job(status="finished", made_by="another"), 100.0, pool.as_pool())
    assert found.detail is None


def test_what_the_database_says_comes_first(pool: FakePool) -> None:
    found = describe(job(made_by="another", detail="a full disk"), 100.0, pool.as_pool())
    assert found.detail == "a full disk"
