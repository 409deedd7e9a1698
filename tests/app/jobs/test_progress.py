"""Progress: what changed, how it ended, and when nobody can say any more."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from app.generation.schemas.status import JobStatus
from app.jobs import progress as module
from app.jobs.errors import StorageUnavailable, UnknownJob
from app.jobs.progress import progress
from app.jobs.service import Jobs

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)


class Scripted:
    """Jobs of which one is in these states, one after the other."""

    def __init__(self, states: Iterable[tuple[str, int] | Exception]) -> None:
        self._states = iter(states)

    async def status(self, job_id: str) -> JobStatus:
        state = next(self._states)
        if isinstance(state, Exception):
            raise state
        status, done = state
        at = datetime.now(UTC)
        fields: dict[str, Any] = {
            "id": job_id, "model": "m", "seed": 1, "sampler": "ddim", "steps": 2, "kind": "sample",
            "status": status, "detail": None, "total": 9, "done": done, "rate": None,
            "left_s": None, "created_at": at, "started_at": None, "finished_at": None,
            "expires_at": at,
        }  # fmt: skip
        return JobStatus(**fields)


async def told(
    *states: tuple[str, int] | Exception, known: str | None = None
) -> list[tuple[str, int]]:
    jobs = cast(Jobs, Scripted(states))
    return [(s.status, s.done) async for s in progress(jobs, "id", known, lambda: False)]


async def test_every_change_is_told_once() -> None:
    waiting, begun, going, over = ("waiting", 0), ("running", 0), ("running", 4), ("finished", 9)
    states = [waiting, waiting, begun, begun, going, going, going, over]
    assert await told(*states) == [waiting, begun, going, over]


async def test_what_the_client_knows_is_not_repeated() -> None:
    assert await told(("running", 4), ("running", 5), ("finished", 9), known="4") == [
        ("running", 5),
        ("finished", 9),
    ]


@pytest.mark.parametrize("end", ["finished", "failed", "expired"])
async def test_an_end_is_the_last_that_is_told(end: str) -> None:
    assert await told((end, 4), ("running", 5)) == [(end, 4)]


async def test_a_deleted_job_is_an_error() -> None:
    jobs = cast(Jobs, Scripted([("running", 4), UnknownJob("there is no job 'id'")]))
    statuses = progress(jobs, "id", None, lambda: False)
    assert (await anext(statuses)).done == 4
    with pytest.raises(UnknownJob):
        await anext(statuses)


async def test_storage_that_fails_ends_it_before_its_time() -> None:
    assert await told(("running", 4), StorageUnavailable("gone")) == [("running", 4)]


async def test_a_server_that_stops_ends_it_before_its_time() -> None:
    answers = iter([False, True])
    jobs = cast(Jobs, Scripted([("running", 4), ("running", 5)]))
    statuses = progress(jobs, "id", None, lambda: next(answers))
    assert [status.done async for status in statuses] == [4]
