"""What becomes of a job, its files and its slot when an error ends a turn."""

import asyncio
from typing import cast

import pytest

from app.jobs import endings
from app.jobs.endings import REFUSED_SECONDS, RETRY_SECONDS, settle
from app.jobs.errors import LostLease, StorageDamaged, StorageFull, StorageUnavailable
from app.jobs.leases import Leases
from app.jobs.tables import Job
from app.pool.errors import Overloaded
from tests.app.jobs.rows import job

pytestmark = pytest.mark.anyio


class Notes:
    """Leases of a job that only note what they are asked for."""

    def __init__(self, *, are_removed: bool = False, error: Exception | None = None) -> None:
        """`are_removed`: the job is forgotten, with its files. `error` is raised by what changes
        the job."""
        self.made: list[tuple[str, str | None]] = []
        self.removed: list[Job] = []
        self._are_removed = are_removed
        self._error = error

    async def leave(self, job: Job) -> bool:  # noqa: ARG002 - the leases' signature
        self.made.append(("leave", None))
        return self._are_removed

    async def release(self, job: Job, detail: str | None) -> None:  # noqa: ARG002
        self._note("release", detail)

    async def fail(self, job: Job, reason: str) -> None:  # noqa: ARG002
        self._note("fail", reason)

    async def remove(self, job: Job) -> None:
        self.removed.append(job)

    def _note(self, change: str, detail: str | None) -> None:
        if self._error is not None:
            raise self._error
        self.made.append((change, detail))

    async def settle(self, job: Job, error: BaseException) -> float:
        """The pause after a turn of the job that ended with this error."""
        return await settle(cast(Leases, self), job, error, self.remove)


def test_every_error_of_a_turn_has_one_ending() -> None:
    kinds = list(endings.ENDINGS)
    for kind in (LostLease, StorageFull, StorageUnavailable, Overloaded, asyncio.CancelledError):
        first = next(found for found in kinds if issubclass(kind, found))
        assert first is not Exception
    assert kinds[-1] is Exception


@pytest.mark.parametrize(
    ("error", "change", "detail", "pause"),
    [
        (LostLease("a"), "leave", None, 0.0),
        (StorageUnavailable("no disk"), "release", "no disk", RETRY_SECONDS),
        (StorageFull("a full disk"), "release", "a full disk", RETRY_SECONDS),
        (Overloaded("no room"), "release", "waits for the engine: no room", REFUSED_SECONDS),
        (asyncio.CancelledError(), "release", None, 0.0),
        (KeyError("x"), "fail", "an error in the server: KeyError('x')", 0.0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_only_an_error_of_the_servers_own_fails_a_job_and_others_make_it_wait(
    error: BaseException, change: str, detail: str | None, pause: float
) -> None:
    notes = Notes()
    assert await notes.settle(job(), error) == pause
    assert notes.made == [(change, detail)]
    assert not notes.removed


async def test_files_are_removed_of_a_job_that_is_forgotten_and_of_no_other() -> None:
    lost, forgotten = Notes(), Notes(are_removed=True)
    ended = job()
    for notes in (lost, forgotten):
        await notes.settle(ended, LostLease("a"))
    assert (lost.removed, forgotten.removed) == ([], [ended])


async def test_a_lease_that_is_found_lost_at_the_end_is_left_with_what_was_written() -> None:
    notes, ended = Notes(are_removed=True, error=LostLease("a")), job()
    assert await notes.settle(ended, Overloaded("no room")) == 0.0
    assert (notes.made, notes.removed) == ([("leave", None)], [ended])


async def test_where_not_even_the_end_can_be_noted_the_job_waits_for_the_end_of_its_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = Notes(error=StorageUnavailable("no database"))
    assert await notes.settle(job(id="a"), ValueError()) == RETRY_SECONDS
    assert "job a waits until its lease runs out: no database" in caplog.text


async def test_nothing_is_written_to_a_damaged_database() -> None:
    notes = Notes()
    with pytest.raises(StorageDamaged, match="^restore it$"):
        await notes.settle(job(), StorageDamaged("restore it"))
    assert not notes.made
    with pytest.raises(StorageDamaged, match="^found late$"):
        await Notes(error=StorageDamaged("found late")).settle(job(), ValueError())
