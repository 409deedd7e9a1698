"""Clients that ask again: after a refusal, and after a kill of the soak's own."""

import httpx
import pytest

from benchmarks.soak import asking
from benchmarks.soak.requests import STREAM
from benchmarks.soak.seen import Lost
from tests.benchmarks.soak.fakes import asker

pytestmark = pytest.mark.anyio
CUT = httpx.ReadError("cut")
SHORT = httpx.Response(200, content=b": keep-alive\n\n", headers={"Content-Type": STREAM})


def events(name: str, status: int) -> httpx.Response:
    content = f'event: {name}\ndata: {{"status": {status}}}\n\n'.encode()
    return httpx.Response(200, content=content, headers={"Content-Type": STREAM})


async def test_what_is_refused_is_asked_again_also_in_a_stream() -> None:
    refused = [httpx.Response(status, headers={"Retry-After": "30"}) for status in (429, 503)]
    no_room = httpx.Response(507)
    client = asker([*refused, no_room, events("error", 503), events("done", 0)])
    assert (await client.ask("POST", "/sample")).content == events("done", 0).content
    assert client.seen.counts == {
        "429, asked again": 1, "503, asked again": 2, "507, asked again": 1
    }  # fmt: skip


@pytest.mark.parametrize("cut", [CUT, SHORT], ids=["connection", "stream"])
async def test_what_a_kill_has_cut_is_asked_again(cut: httpx.Response | Exception) -> None:
    client = asker([cut, httpx.Response(404)], was_killed=True)
    assert (await client.ask("GET", "/jobs/x")).status_code == 404
    assert client.seen.counts == {"cut off, asked again": 1}


@pytest.mark.parametrize("cut", [CUT, SHORT], ids=["connection", "stream"])
async def test_what_is_cut_without_a_kill_is_lost(
    cut: httpx.Response | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "NOTICE_SECONDS", 0.0)
    with pytest.raises(Lost):
        await asker([cut]).ask("GET", "/jobs/x")
