"""The soak's clients of jobs: what they ask, and what they notice."""

import httpx
import pytest

from benchmarks.soak import jobs
from benchmarks.soak.jobs import Jobs
from benchmarks.soak.seen import Lost, Wrong
from tests.benchmarks.soak.fakes import asker, asker_of

pytestmark = pytest.mark.anyio
CONTENT = bytes(range(256)) * 3
ZIP = "application/zip"


def in_ranges(asked: httpx.Request, shift: int = 0) -> httpx.Response:
    """What a server makes of a Range; `shift` bytes beside it."""
    first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
    part = CONTENT[first + shift : last + 1 + shift]
    told = f"bytes {first + shift}-{first + shift + len(part) - 1}/{len(CONTENT)}"
    assert asked.headers.get("if-range") == (None if first == 0 else "e")
    return httpx.Response(206, content=part, headers={"Content-Range": told, "ETag": "e"})


def status(name: str) -> httpx.Response:
    return httpx.Response(200, json={"status": name})


@pytest.mark.parametrize("parts", [1, 3, 5])
async def test_a_result_is_fetched_in_parts(parts: int) -> None:
    assert await Jobs(asker_of(in_ranges)).fetch_in_ranges("j", ZIP, parts) == CONTENT


async def test_a_range_beside_the_one_asked_for_is_wrong() -> None:
    with pytest.raises(Wrong, match="was answered with bytes 1-100/768"):
        await Jobs(asker_of(lambda asked: in_ranges(asked, 1))).fetch_in_ranges("j", ZIP, 3)


async def test_a_job_is_waited_for_until_it_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.0)
    told = [status("waiting"), status("running"), status("finished"), httpx.Response(500)]
    asking = asker(told)
    await Jobs(asking).finished("j", by_events=False)
    assert (await asking.ask("GET", "/")).status_code == 500, "nothing was asked after the end"


async def test_events_that_are_cut_or_empty_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.0)
    done = b'event: done\ndata: {"status": "finished"}\n\n'
    told: list[httpx.Response | Exception] = [
        httpx.ReadError("cut"), httpx.Response(200, content=b""), status("running"),
        httpx.Response(200, content=done),
    ]  # fmt: skip
    asking = asker(told, was_killed=True)
    await Jobs(asking).finished("j", by_events=True)
    assert asking.seen.counts == {"cut off, asked again": 1}


@pytest.mark.parametrize("answer", [status("failed"), status("expired"), httpx.Response(404)])
async def test_a_job_that_ends_otherwise_or_is_gone_is_lost(answer: httpx.Response) -> None:
    with pytest.raises(Lost):
        await Jobs(asker([answer])).finished("j", by_events=False)


async def test_a_deleted_job_must_be_unknown() -> None:
    await Jobs(asker([httpx.Response(204), httpx.Response(404)])).delete("j")
    with pytest.raises(Lost, match="GET /jobs/j: status 200"):
        await Jobs(asker([httpx.Response(204), status("finished")])).delete("j")
